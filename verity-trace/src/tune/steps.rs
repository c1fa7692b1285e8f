//! Every step as something to type, for whoever wants to see it first.

use std::io::{self, Write};
use std::time::Duration;

use super::{Order, Settings, Side, Times, words};
use crate::dm::Line;
use crate::recommend::{node, quoted};
use crate::snapshot::DeviceNumber;

/// What is changed for each setting.
#[derive(Clone, Debug)]
pub enum Tables<'a> {
    /// The table without the option and with it.
    Lines([&'a Line; 2]),
    /// The limits.
    Limits([[u64; 4]; 2]),
}

/// Writes a script for a shell of root's that does to the device what would be done to it; what would be measured is in
/// comments. An error where a name cannot be typed.
pub fn steps(
    (name, number): (&str, DeviceNumber),
    settings: &Settings,
    tables: &Tables<'_>,
    times: Times,
    seed: u64,
    out: &mut impl Write,
) -> io::Result<()> {
    let or_error = |text: Result<String, String>| text.map_err(io::Error::other);
    writeln!(out, "#!/bin/sh -e")?;
    writeln!(
        out,
        "# What would be done, as root. A note in /run/verity-trace says how to undo it before the first step, and a\n\
         # signal or a failure puts back what was found. Every table is read again just before it comes into effect."
    )?;
    match tables {
        Tables::Lines([a, b]) => {
            let node = or_error(quoted(&node(name, number)))?;
            writeln!(out, "a={}", or_error(quoted(&a.to_string()))?)?;
            writeln!(out, "b={}", or_error(quoted(&b.to_string()))?)?;
            writeln!(
                out,
                "switch() {{\n  test \"$(dmsetup table {node})\" = \"$1\"\n  test -z \"$(dmsetup table --inactive {node})\"\n  \
                 dmsetup reload {node} --readonly --table \"$2\"\n  dmsetup resume --nolockfs {node}\n}}"
            )?;
        }
        Tables::Limits([a, b]) => {
            writeln!(out, "a={}\nb={}", words(*a), words(*b))?;
            writeln!(
                out,
                "switch() {{\n  test \"$(cat /sys/module/dm_verity/parameters/use_bh_bytes)\" = \"$1\"\n  \
                 echo \"$2\" > /sys/module/dm_verity/parameters/use_bh_bytes\n}}"
            )?;
        }
    }
    let found = settings.found;
    writeln!(
        out,
        "sleep {} # as found: {}; I/Os are recorded for a prediction",
        seconds(times.first()),
        settings.name(found)
    )?;
    let (warm_up, block) = (seconds(times.warm_up), seconds(times.block));
    let mut now = found;
    let pairs = usize::try_from(times.pairs).unwrap_or(usize::MAX);
    for (pair, sides) in Order::new(seed).take(pairs).enumerate() {
        for side in sides {
            writeln!(
                out,
                "{}; sleep {warm_up}; sleep {block} # pair {}, measured: {}",
                switch(now, side),
                pair + 1,
                settings.name(side)
            )?;
            now = side;
        }
    }
    if now != found {
        writeln!(out, "{} # as it was found", switch(now, found))?;
    }
    Ok(())
}

fn switch(from: Side, to: Side) -> String {
    format!("switch \"${}\" \"${}\"", letter(from), letter(to))
}

const fn letter(side: Side) -> char {
    match side {
        Side::A => 'a',
        Side::B => 'b',
    }
}

fn seconds(duration: Duration) -> String {
    format!("{:.3}", duration.as_secs_f64())
}
