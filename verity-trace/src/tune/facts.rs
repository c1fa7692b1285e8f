//! What there has to be before anything is changed, judged from what was found.

use super::words;
use crate::dm::{Live, Staged};
use crate::facts::meaning;
use crate::snapshot::Era;
use crate::target::{Mode, Table, Verdict};

/// What was found of the machine and the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// What the kernel makes of the option; absent where that is not known.
    pub era: Option<Era>,
    /// The device.
    pub live: Live,
    /// Whether the kernel takes signed root hashes alone; absent where it does not say.
    pub requires_signatures: Option<bool>,
    /// Whether the system itself lies on the device.
    pub root: Root,
    /// The limits `use_bh_bytes`; absent where the kernel has none.
    pub use_bh_bytes: Option<[u64; 4]>,
    /// The names of other verity devices with the option that just had I/O.
    pub others: Vec<String>,
}

/// Whether the system itself lies on a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Root {
    /// It does not.
    No,
    /// What is mounted there does.
    Yes(&'static str),
    /// What is mounted there may: it cannot be told what that lies on.
    Unknown(&'static str),
}

/// What somebody wants to have done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// The limit that is tried, in bytes; absent where the option is switched.
    pub limit: Option<u64>,
    /// Whether the system itself may lie on the device.
    pub yes_root: bool,
    /// Whether other devices may be affected.
    pub all_devices: bool,
    /// Whether we make the load.
    pub load: bool,
}

/// Why nothing is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// On this kernel there is nothing to be tried.
    Kernel(String),
    /// Not with this device, or not like this.
    Device(String),
}

/// Why nothing is done; absent where something may be.
#[must_use]
pub fn refusal(facts: &Facts, wish: &Wish) -> Option<Refusal> {
    kernel(facts, wish)
        .map(Refusal::Kernel)
        .or_else(|| device(facts, wish).map(Refusal::Device))
}

fn kernel(facts: &Facts, wish: &Wish) -> Option<String> {
    match facts.era {
        None => Some("what this kernel makes of try_verify_in_tasklet is not known, so nothing is tried".to_owned()),
        Some(era @ (Era::NoOption | Era::Inert)) => Some(format!(
            "nothing to be tried: on this kernel {}",
            meaning(era)
        )),
        // 0a9bab391e33: dm-crypt, dm-verity: disable tasklets.
        Some(Era::Tasklet) => Some(
            "not on this kernel: its tasklets write to freed memory, which is why later ones ignore the option"
                .to_owned(),
        ),
        Some(Era::Bh | Era::Inline) if wish.limit.is_some() && facts.use_bh_bytes.is_none() => {
            Some("--limits: this kernel has no use_bh_bytes, which Linux 6.15 and later have".to_owned())
        }
        Some(Era::Bh | Era::Inline) => None,
    }
}

fn device(facts: &Facts, wish: &Wish) -> Option<String> {
    let live = &facts.live;
    let Some(table) = own_table(live) else {
        return Some(
            "its table has more than one target, or words that this version does not know, so that it could not be \
             put back as it is"
                .to_owned(),
        );
    };
    state(live)
        .map(str::to_owned)
        .or_else(|| signature(facts, &table).map(str::to_owned))
        .or_else(|| root(&facts.root, wish))
        .or_else(|| own_load(&table, wish).map(str::to_owned))
        .or_else(|| limits(facts, &table, wish))
}

/// The table, if it is one that can be put back word by word.
pub(super) fn own_table(live: &Live) -> Option<Table> {
    let parameters = &live.line.as_ref()?.parameters;
    let table = Table::parse(parameters)?;
    (table.parameters().as_ref() == Some(parameters)).then_some(table)
}

fn state(live: &Live) -> Option<&'static str> {
    if live.is_suspended {
        return Some("it is suspended, and whoever did that does not expect it to go on");
    }
    if live.staged != Staged::Nothing {
        return Some(
            "somebody has staged another table for it, which a load would replace (dmsetup table --inactive shows it)",
        );
    }
    if !live.is_read_only {
        return Some("it can be written to, which no verity device can");
    }
    let Some(status) = &live.status else {
        return Some(
            "it does not say whether a block did not match its hash, and a new table would erase that",
        );
    };
    match status.verdict {
        Verdict::Corruption => Some(
            "its status is corruption: a block did not match its hash, and a new table would erase that",
        ),
        Verdict::Unknown(_) => Some(
            "its status is one that this version does not know, and a new table would erase it",
        ),
        Verdict::Valid if status.fec_corrected.is_some_and(|it| it > 0) => Some(
            "it has corrected blocks, and a new table would erase how many (dmsetup status shows it)",
        ),
        Verdict::Valid => None,
    }
}

fn signature(facts: &Facts, table: &Table) -> Option<&'static str> {
    if table.options.root_hash_sig_key_desc.is_some() {
        return Some(
            "its root hash is signed: a new table needs the signature in a keyring, from where it is gone once the \
             device is open",
        );
    }
    match facts.requires_signatures {
        Some(true) => Some(
            "the kernel takes signed root hashes alone (require_signatures), and would refuse its table",
        ),
        _ => None,
    }
}

fn root(root: &Root, wish: &Wish) -> Option<String> {
    if wish.yes_root {
        return None;
    }
    match root {
        Root::No => None,
        Root::Yes(point) => Some(format!(
            "{point} lies on it, so that every read of the system waits while its table is changed; --yes-root does it \
             all the same"
        )),
        Root::Unknown(point) => Some(format!(
            "it cannot be told whether {point} lies on it, so that every read of the system may wait while its table \
             is changed; --yes-root does it all the same"
        )),
    }
}

fn own_load(table: &Table, wish: &Wish) -> Option<&'static str> {
    let ends = |mode: Mode| matches!(mode, Mode::Restart | Mode::Panic);
    let options = &table.options;
    let is_dangerous = ends(options.on_corruption) || ends(options.on_error);
    (wish.load && is_dangerous).then_some(
        "--load reads blocks that nobody else may ever read, and one that is not right would take the machine down, as \
         its table says; try it with a load of your own",
    )
}

fn limits(facts: &Facts, table: &Table, wish: &Wish) -> Option<String> {
    let bytes = wish.limit?;
    let now = facts.use_bh_bytes?;
    if !table.options.try_verify_in_tasklet {
        return Some(
            "--limits is for a device that has the option, and it has not; without --limits the option itself is tried"
                .to_owned(),
        );
    }
    if super::tried(now, bytes) == now {
        return Some(format!("use_bh_bytes is {} already", words(now)));
    }
    if wish.all_devices || facts.others.is_empty() {
        return None;
    }
    Some(format!(
        "use_bh_bytes is for all devices, and these have the option and I/O too: {}; --all-devices does it all the same",
        facts.others.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dm::{Identity, Line};
    use crate::snapshot::DeviceNumber;
    use crate::target::Status;

    const TABLE: &str = "1 254:0 254:16 4096 4096 16384 1 sha256 beef 00";

    fn facts() -> Facts {
        Facts {
            era: Some(Era::Inline),
            live: Live {
                identity: Identity {
                    number: DeviceNumber {
                        major: 253,
                        minor: 0,
                    },
                    disk_sequence: Some(1),
                    uuid: String::new(),
                },
                name: "usr".to_owned(),
                line: Some(Line {
                    sectors: 131_072,
                    parameters: TABLE.to_owned(),
                }),
                staged: Staged::Nothing,
                is_suspended: false,
                is_read_only: true,
                status: Status::parse("V -"),
            },
            requires_signatures: Some(false),
            root: Root::No,
            use_bh_bytes: Some([8192, 8192, 8192, 0]),
            others: Vec::new(),
        }
    }

    fn with(change: impl Fn(&mut Facts)) -> Facts {
        let mut facts = facts();
        change(&mut facts);
        facts
    }

    fn table(words: &str) -> Facts {
        with(|it| {
            if let Some(line) = &mut it.live.line {
                line.parameters = format!("{TABLE} {words}");
            }
        })
    }

    #[test]
    fn what_can_be_put_back_is_tried() {
        let wish = Wish::default();
        for facts in [
            facts(),
            with(|it| it.era = Some(Era::Bh)),
            with(|it| it.requires_signatures = None),
            with(|it| it.live.status = Status::parse("V 0")),
            table("1 try_verify_in_tasklet"),
            table("2 restart_on_corruption ignore_zero_blocks"),
        ] {
            assert_eq!(refusal(&facts, &wish), None, "{facts:?}");
        }
        let root = with(|it| it.root = Root::Yes("/"));
        let wish = Wish {
            yes_root: true,
            ..wish
        };
        assert_eq!(refusal(&root, &wish), None);
    }

    #[test]
    fn a_device_that_could_not_be_put_back_is_left_alone() {
        let cases: [(Facts, &str); 16] = [
            (with(|it| it.live.line = None), "more than one target"),
            (table("1 new_option"), "words that this version"),
            (table("1 "), "could not be"),
            (with(|it| it.live.is_suspended = true), "is suspended"),
            (with(|it| it.live.staged = Staged::Other), "has staged"),
            (with(|it| it.live.is_read_only = false), "can be written to"),
            (with(|it| it.live.status = None), "does not say"),
            (
                with(|it| it.live.status = Status::parse("C")),
                "is corruption",
            ),
            (
                with(|it| it.live.status = Status::parse("C 3")),
                "is corruption",
            ),
            (
                with(|it| it.live.status = Status::parse("X")),
                "does not know",
            ),
            (
                with(|it| it.live.status = Status::parse("V 3")),
                "corrected",
            ),
            (table("2 root_hash_sig_key_desc key"), "is signed"),
            (
                with(|it| it.requires_signatures = Some(true)),
                "require_signatures",
            ),
            (with(|it| it.root = Root::Yes("/usr")), "/usr lies on it"),
            (with(|it| it.root = Root::Unknown("/")), "cannot be told"),
            (
                table("2 try_verify_in_tasklet try_verify_in_tasklet"),
                "could not be",
            ),
        ];
        for (facts, expected) in cases {
            match refusal(&facts, &Wish::default()) {
                Some(Refusal::Device(why)) => assert!(why.contains(expected), "{why}"),
                other => panic!("{expected}: {other:?}"),
            }
        }
    }

    #[test]
    fn where_the_option_does_nothing_nothing_is_tried() {
        let cases = [
            (None, "not known"),
            (Some(Era::NoOption), "nothing to be tried"),
            (Some(Era::Inert), "nothing to be tried"),
            (Some(Era::Tasklet), "freed memory"),
        ];
        for (era, expected) in cases {
            // That comes first, whatever else there is.
            let facts = with(|it| {
                it.era = era;
                it.live.status = Status::parse("C");
            });
            match refusal(&facts, &Wish::default()) {
                Some(Refusal::Kernel(why)) => assert!(why.contains(expected), "{why}"),
                other => panic!("{expected}: {other:?}"),
            }
        }
    }

    #[test]
    fn limits_are_for_a_device_with_the_option_and_for_all_of_them() {
        let wish = Wish {
            limit: Some(0),
            ..Wish::default()
        };
        let says = |facts: &Facts, wish: &Wish| match refusal(facts, wish) {
            Some(Refusal::Device(why) | Refusal::Kernel(why)) => why,
            None => String::new(),
        };
        assert!(says(&facts(), &wish).contains("it has not"));
        let on = table("1 try_verify_in_tasklet");
        assert_eq!(says(&on, &wish), "");
        let same = Wish {
            limit: Some(8192),
            ..wish
        };
        assert!(says(&on, &same).contains("8192,8192,8192,0 already"));
        let older = Facts {
            use_bh_bytes: None,
            era: Some(Era::Bh),
            ..on.clone()
        };
        assert!(says(&older, &wish).contains("Linux 6.15"));
        let shared = Facts {
            others: vec!["app".to_owned()],
            ..on
        };
        assert!(says(&shared, &wish).contains("too: app; --all-devices"));
        assert_eq!(
            says(
                &shared,
                &Wish {
                    all_devices: true,
                    ..wish
                }
            ),
            ""
        );
        // Without limits nobody else is concerned.
        assert_eq!(says(&shared, &Wish::default()), "");
    }

    #[test]
    fn a_load_of_ours_takes_no_machine_down() {
        let wish = Wish {
            load: true,
            ..Wish::default()
        };
        assert_eq!(refusal(&facts(), &wish), None);
        assert_eq!(refusal(&table("1 ignore_corruption"), &wish), None);
        for word in [
            "restart_on_corruption",
            "panic_on_corruption",
            "panic_on_error",
        ] {
            let refused = refusal(&table(&format!("1 {word}")), &wish);
            assert!(matches!(refused, Some(Refusal::Device(_))), "{word}");
        }
    }
}
