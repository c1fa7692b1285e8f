//! What to type, for exactly this device: its own table with one word more or less, and how to undo it.

use super::case::Case;
use super::{Verdict, limits};
use crate::escape;
use crate::snapshot::{Device, DeviceNumber};
use crate::target::{self, Mode, Options, Table};

/// Lines for a shell of root's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// What they do.
    pub what: &'static str,
    /// The lines.
    pub lines: Vec<String>,
    /// The lines that undo it.
    pub undo: Vec<String>,
}

/// Characters of a name that device-mapper stores as they are, whichever way it mangles others (libdm,
/// `_is_whitelisted_char`).
const PLAIN: &str = "#+-.:=@_";

/// The commands for a verdict; a sentence where there are none to be had.
pub fn of(case: &Case<'_>, verdict: Verdict) -> Result<Vec<Command>, String> {
    match verdict {
        Verdict::Enable => switched(case, true),
        Verdict::Disable => switched(case, false),
        Verdict::NotEffective if case.option() => switched(case, false),
        Verdict::Limit(values) => Ok(limited(case, values)),
        Verdict::Keep | Verdict::NotEffective | Verdict::NotEnoughData => Ok(Vec::new()),
    }
}

/// Sets all four values.
fn limited(case: &Case<'_>, values: [u64; 4]) -> Vec<Command> {
    let line = |values: [u64; 4]| {
        let values = values.map(|it| it.to_string()).join(",");
        format!("echo {values} > /sys/module/dm_verity/parameters/use_bh_bytes")
    };
    let before = limits::current(case);
    vec![Command {
        what: "set use_bh_bytes, for the classes none, real time, best effort and idle, at once and for all devices",
        lines: vec![line(values)],
        undo: before.into_iter().map(line).collect(),
    }]
}

/// Loads the table with the option or without, and says how the device is activated so.
fn switched(case: &Case<'_>, on: bool) -> Result<Vec<Command>, String> {
    let device = case.device;
    if let Some(status) = &device.status
        && status.verdict != target::Verdict::Valid
    {
        return Err(
            "there is no command: its status is not valid, and loading a table anew would erase that".to_owned(),
        );
    }
    if !device
        .table
        .root_hash
        .bytes()
        .all(|byte| byte.is_ascii_hexdigit())
    {
        return Err(
            "there is no command: its root hash is not known, as of a recording that leaves it out"
                .to_owned(),
        );
    }
    let mut commands = vec![reload(device, on)?];
    commands.extend(activation(case, on));
    Ok(commands)
}

fn reload(device: &Device, on: bool) -> Result<Command, String> {
    let node = quoted(&node(&device.name, device.number))?;
    let line = |table: &Table| -> Result<String, String> {
        let parameters = table.parameters().ok_or(
            "there is no command: its table has words that this version does not know, or blanks in them",
        )?;
        let sectors = table
            .data_blocks
            .checked_mul(u64::from(table.data_block_bytes))
            .ok_or("there is no command: its table says more blocks than a device can have")?
            / 512;
        quoted(&format!("0 {sectors} verity {parameters}"))
    };
    let now = line(&device.table)?;
    let mut table = device.table.clone();
    table.options.try_verify_in_tasklet = on;
    let then = line(&table)?;
    let lines = |from: &str, to: &str| {
        vec![format!(
            "test \"$(dmsetup table {node})\" = {from} && dmsetup reload {node} --readonly --table {to} && \
             dmsetup resume {node}"
        )]
    };
    Ok(Command {
        what: if on {
            "switch the option on now; does nothing unless the table is still the one that was seen"
        } else {
            "switch the option off now; does nothing unless the table is still the one that was seen"
        },
        lines: lines(&now, &then),
        undo: lines(&then, &now),
    })
}

/// What dmsetup calls a device: its name where every tool takes that as it is, else the kernel's name.
#[must_use]
pub fn node(name: &str, number: DeviceNumber) -> String {
    let is_plain = |it: char| it.is_ascii_alphanumeric() || PLAIN.contains(it);
    if !name.is_empty() && !name.starts_with('-') && name.chars().all(is_plain) {
        return name.to_owned();
    }
    // Device-mapper names its disks so (`alloc_dev`, drivers/md/dm.c).
    format!("/dev/dm-{}", number.minor)
}

/// How it is activated with the option or without; absent where veritysetup did not activate it, or cannot say all
/// that its table does.
fn activation(case: &Case<'_>, on: bool) -> Option<Command> {
    let device = case.device;
    let (table, options) = (&device.table, &device.table.options);
    let uuid = device.uuid.strip_prefix("CRYPT-VERITY-")?;
    let has_superblock = uuid.len() > 32
        && uuid.bytes().take(32).all(|byte| byte.is_ascii_hexdigit())
        && uuid.as_bytes()[32] == b'-';
    let path = |number: &str| match case.snapshot.kernel_names.get(number) {
        Some(name) => format!("/dev/{name}"),
        None => format!("/dev/block/{number}"),
    };
    let mut words = vec!["veritysetup".to_owned(), "open".to_owned()];
    if has_superblock {
        let block = u64::from(table.hash_block_bytes);
        let offset = table.hash_start_block.checked_sub(1)?.checked_mul(block)?;
        if offset > 0 {
            words.extend(option("--hash-offset", offset));
        }
    } else {
        words.extend(without_superblock(table)?);
    }
    words.extend(flags(options, table, &path)?);
    let names = [
        path(&table.data_device),
        device.name.clone(),
        path(&table.hash_device),
        table.root_hash.clone(),
    ];
    // No name is taken for an option.
    words.push("--".to_owned());
    words.extend(names);
    let with = |option: bool| {
        let mut words = words.clone();
        if option {
            words.insert(2, "--use-tasklets".to_owned());
        }
        let words: Result<Vec<_>, _> = words.iter().map(|word| quoted(word)).collect();
        words.ok().map(|words| words.join(" "))
    };
    Some(Command {
        what: "at the next activation, by veritysetup 2.6 or later; systemd's veritytab has no word for the option",
        lines: vec![with(on)?],
        undo: vec![with(!on)?],
    })
}

/// What a superblock would say.
fn without_superblock(table: &Table) -> Option<Vec<String>> {
    let block = u64::from(table.hash_block_bytes);
    let offset = table.hash_start_block.checked_mul(block)?;
    let mut words = vec!["--no-superblock".to_owned()];
    words.extend(option("--format", table.hash_type));
    words.extend(option("--hash", &table.algorithm));
    words.extend(option("--data-block-size", table.data_block_bytes));
    words.extend(option("--hash-block-size", table.hash_block_bytes));
    words.extend(option("--data-blocks", table.data_blocks));
    words.extend(option("--salt", table.salt.as_deref().unwrap_or("-")));
    words.extend(option("--hash-offset", offset));
    Some(words)
}

fn option(name: &str, value: impl std::fmt::Display) -> [String; 2] {
    [name.to_owned(), value.to_string()]
}

/// The other options; absent where veritysetup has no word for one, or needs a file that a table does not name.
fn flags(options: &Options, table: &Table, path: &impl Fn(&str) -> String) -> Option<Vec<String>> {
    if !options.unknown.is_empty() || options.root_hash_sig_key_desc.is_some() {
        return None;
    }
    let mut flags = Vec::new();
    let mut add = |is_set: bool, flag: &str| {
        if is_set {
            flags.push(flag.to_owned());
        }
    };
    add(options.on_corruption == Mode::Ignore, "--ignore-corruption");
    add(
        options.on_corruption == Mode::Restart,
        "--restart-on-corruption",
    );
    add(
        options.on_corruption == Mode::Panic,
        "--panic-on-corruption",
    );
    match options.on_error {
        Mode::Eio => {}
        // It is said together with that of corruption alone.
        mode if mode == options.on_corruption => add(true, "--error-as-corruption"),
        _ => return None,
    }
    add(options.ignore_zero_blocks, "--ignore-zero-blocks");
    add(options.check_at_most_once, "--check-at-most-once");
    if let Some(fec) = &options.fec {
        let device = fec.device.as_deref()?;
        flags.extend(option("--fec-device", path(device)));
        let block = u64::from(table.data_block_bytes);
        let offset = fec.start_block?.checked_mul(block)?;
        flags.extend(option("--fec-offset", offset));
        flags.extend(option("--fec-roots", fec.roots?));
    }
    Some(flags)
}

/// A word for a shell. What a terminal would obey or hide cannot be printed as it is, and then is no command.
pub fn quoted(word: &str) -> Result<String, String> {
    let quoted = shlex::try_quote(word).ok();
    let quoted = quoted.filter(|it| !it.contains(escape::is_hidden));
    quoted.map(std::borrow::Cow::into_owned).ok_or_else(|| {
        "there is no command: a name or a word of its table has characters that cannot be typed"
            .to_owned()
    })
}
