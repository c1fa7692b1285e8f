//! What is written down before a device is changed, for whoever comes after a run that could not put it back.

use serde::{Deserialize, Serialize};

use crate::dm::{Identity, Line, Live, Staged};
use crate::snapshot::DeviceNumber;

/// Raised when an older program could not read it any more.
const VERSION: u32 = 1;

/// The file of the note of what was changed for all devices.
const LIMITS: &str = "tune-use_bh_bytes.json";

/// See the module. It is bound to one boot and one device, and is for one table: the one that was loaded is kept whole,
/// so that no other table is taken for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Note {
    version: u32,
    /// The kernel's `random/boot_id`.
    boot_id: String,
    /// The device's number.
    number: String,
    /// The sequence number of its disk; absent before Linux 5.15.
    disk_sequence: Option<u64>,
    /// Device-mapper's uuid of it.
    uuid: String,
    /// Its name. It comes from outside: escape it before printing.
    pub name: String,
    /// What was changed.
    pub undo: Undo,
}

/// What was changed, and what there was before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Undo {
    /// The device's table.
    Table {
        /// That was there.
        found: Line,
        /// That was loaded instead.
        loaded: Line,
    },
    /// The module's `use_bh_bytes`.
    Limits {
        /// That were there.
        found: [u64; 4],
        /// That were set instead.
        set: [u64; 4],
    },
}

/// What a note says of the present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// What was changed is still so, or is staged to be, and can be undone.
    Changed,
    /// Everything is as it was found.
    AsFound,
    /// It does not apply any more, for this reason, and nothing is to be undone.
    Void(&'static str),
}

impl Note {
    /// One for this device, in this boot.
    #[must_use]
    pub fn new(boot_id: &str, identity: &Identity, name: &str, undo: Undo) -> Self {
        Self {
            version: VERSION,
            boot_id: boot_id.to_owned(),
            number: identity.number.to_string(),
            disk_sequence: identity.disk_sequence,
            uuid: identity.uuid.clone(),
            name: name.to_owned(),
            undo,
        }
    }

    /// Reads one.
    pub fn parse(text: &str) -> Result<Self, String> {
        let note: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if note.version != VERSION {
            return Err(format!("version {} of it is not known", note.version));
        }
        Ok(note)
    }

    /// The file in which it is kept: limits are for all devices, so that there is one for all of them.
    #[must_use]
    pub fn file(&self) -> String {
        match self.undo {
            Undo::Table { .. } => file_of(&self.number),
            Undo::Limits { .. } => LIMITS.to_owned(),
        }
    }

    /// What is put back by it. It comes from outside: escape it before printing.
    #[must_use]
    pub fn subject(&self) -> &str {
        match self.undo {
            Undo::Table { .. } => &self.name,
            Undo::Limits { .. } => "use_bh_bytes",
        }
    }

    /// As text.
    #[must_use]
    pub fn text(&self) -> String {
        // It has strings and numbers alone, which nothing can be wrong with.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// Which device it is of; absent where that is no number.
    #[must_use]
    pub fn identity(&self) -> Option<Identity> {
        Some(Identity {
            number: self.number.parse().ok()?,
            disk_sequence: self.disk_sequence,
            uuid: self.uuid.clone(),
        })
    }
}

/// The files with notes of what concerns a device.
#[must_use]
pub fn files_of(number: DeviceNumber) -> [String; 2] {
    [file_of(&number.to_string()), LIMITS.to_owned()]
}

fn file_of(number: &str) -> String {
    format!("tune-{number}.json")
}

/// What a note says, in this boot, with the device as it is now if there is one of its number, and the limits of now.
#[must_use]
pub fn what_to_undo(
    note: &Note,
    boot_id: &str,
    live: Option<&Live>,
    limits: Option<[u64; 4]>,
) -> Finding {
    if note.boot_id != boot_id {
        return Finding::Void("the machine was started anew since");
    }
    match &note.undo {
        Undo::Limits { found, set } => match limits {
            Some(now) if now == *set => Finding::Changed,
            Some(now) if now == *found => Finding::AsFound,
            _ => Finding::Void("somebody else has set use_bh_bytes since"),
        },
        Undo::Table { found, loaded } => {
            let is_it = |live: &&Live| note.identity().as_ref() == Some(&live.identity);
            let Some(live) = live.filter(is_it) else {
                return Finding::Void("the device is gone");
            };
            // One that was killed between the load of a table and the resume left it there.
            let is_staged = [found, loaded].map(|it| live.staged == Staged::Line(it.clone()));
            if live.line.as_ref() == Some(loaded) || is_staged.contains(&true) {
                Finding::Changed
            } else if live.line.as_ref() == Some(found) {
                Finding::AsFound
            } else {
                Finding::Void("somebody else has changed its table since")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn line(parameters: &str) -> Line {
        Line {
            sectors: 8,
            parameters: parameters.to_owned(),
        }
    }

    fn live() -> Live {
        Live {
            identity: Identity {
                number: DeviceNumber {
                    major: 253,
                    minor: 4,
                },
                disk_sequence: Some(9),
                uuid: "CRYPT-VERITY-x".to_owned(),
            },
            name: "usr".to_owned(),
            line: Some(line("on")),
            staged: Staged::Nothing,
            is_suspended: false,
            is_read_only: true,
            status: None,
        }
    }

    fn note() -> Note {
        let undo = Undo::Table {
            found: line("off"),
            loaded: line("on"),
        };
        Note::new("boot", &live().identity, "usr", undo)
    }

    #[test]
    fn it_is_read_as_it_was_written() {
        let limits = Undo::Limits {
            found: [8192, 8192, 8192, 0],
            set: [0; 4],
        };
        for note in [
            note(),
            Note {
                undo: limits,
                ..note()
            },
        ] {
            assert_eq!(Note::parse(&note.text()), Ok(note));
        }
    }

    #[test]
    fn what_is_no_note_is_none() {
        let text = note().text();
        for (from, to) in [
            ("\"version\": 1", "\"version\": 2"),
            ("\"uuid\"", "\"uuids\""),
            ("\"sectors\": 8", "\"sectors\": -8"),
            ("{", ""),
        ] {
            let other = text.replace(from, to);
            assert_ne!(other, text);
            assert!(Note::parse(&other).is_err(), "{other}");
        }
    }

    #[test]
    fn only_our_table_on_this_device_in_this_boot_is_undone() {
        let now = live();
        let says = |note: &Note, live: Option<&Live>| what_to_undo(note, "boot", live, None);
        assert_eq!(says(&note(), Some(&now)), Finding::Changed);
        let with = |parameters: Option<&str>| Live {
            line: parameters.map(line),
            ..live()
        };
        assert_eq!(says(&note(), Some(&with(Some("off")))), Finding::AsFound);
        let mut other = live();
        other.identity.uuid.push('y');
        let mut later = live();
        later.identity.disk_sequence = Some(10);
        for live in [
            None,
            Some(&other),
            Some(&later),
            Some(&with(Some("else"))),
            Some(&with(None)),
        ] {
            assert!(matches!(says(&note(), live), Finding::Void(_)), "{live:?}");
        }
        let booted = what_to_undo(&note(), "another boot", Some(&now), None);
        assert!(matches!(booted, Finding::Void(_)));
        // The name may have changed.
        assert_eq!(
            says(
                &note(),
                Some(&Live {
                    name: "new".to_owned(),
                    ..now
                })
            ),
            Finding::Changed
        );
    }

    /// Whatever the device has by now, nobody is to find it behind a resume.
    #[test]
    fn a_table_of_ours_that_is_staged_is_undone() {
        for (now, staged, expected) in [
            ("off", Staged::Line(line("on")), Finding::Changed),
            ("off", Staged::Line(line("off")), Finding::Changed),
            ("else", Staged::Line(line("on")), Finding::Changed),
            ("off", Staged::Line(line("else")), Finding::AsFound),
            ("off", Staged::Other, Finding::AsFound),
        ] {
            let live = Live {
                line: Some(line(now)),
                staged: staged.clone(),
                ..live()
            };
            let found = what_to_undo(&note(), "boot", Some(&live), None);
            assert_eq!(found, expected, "{now} {staged:?}");
        }
    }

    #[test]
    fn only_our_limits_are_undone() {
        let (found, set) = ([8192, 8192, 8192, 0], [0; 4]);
        let note = Note {
            undo: Undo::Limits { found, set },
            ..note()
        };
        let says = |now| what_to_undo(&note, "boot", None, now);
        assert_eq!(says(Some(set)), Finding::Changed);
        assert_eq!(says(Some(found)), Finding::AsFound);
        assert!(matches!(says(Some([1; 4])), Finding::Void(_)));
        assert!(matches!(says(None), Finding::Void(_)));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in any::<String>()) {
            let _ = Note::parse(&text);
        }
    }
}
