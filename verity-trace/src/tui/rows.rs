//! The rows of the table of devices: of a device each, or of a group of devices that is folded.
//!
//! Images of containers bring hundreds of devices. What finds no room on the screen is summed up there, and
//! not hidden below its edge.

use std::borrow::Cow;
use std::collections::BTreeMap;

use glob::Pattern;

use super::table::STAGES;
use crate::histogram::{Histogram, Slots};
use crate::lookback::Recent;
use crate::snapshot::{Device, DeviceNumber, Snapshot, Stage};

/// A name that begins with so many hexadecimal digits is a hash.
const HASH: usize = 16;
/// The group of those.
const HASHES: &str = "[0-9a-f]*";

/// Which devices belong together, and which of them share a row.
#[derive(Clone, Debug, Default)]
pub struct Groups {
    /// Patterns that somebody named.
    named: Vec<Pattern>,
    /// Whether a group is folded, as somebody asked; any other is where there is no room for all.
    folded: BTreeMap<String, bool>,
}

/// What the devices of a group have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group<'a> {
    /// A pattern that somebody named fits them.
    Named(&'a str),
    /// Their names begin so.
    Begin(&'a str),
    /// Their names are hashes.
    Hash,
}

/// Devices that share a row, by their place in the snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The pattern that fits them; absent for a device alone.
    pub group: Option<String>,
    places: Vec<usize>,
    /// How long the stages of a group took in the window: added up once, however often it is drawn.
    stages: BTreeMap<Stage, Histogram>,
}

impl Groups {
    /// Devices that a pattern fits belong together, and any others by what their names begin with.
    #[must_use]
    pub const fn new(named: Vec<Pattern>) -> Self {
        Self {
            named,
            folded: BTreeMap::new(),
        }
    }

    /// The rows of some devices, in the order of their first one, on a screen with room for so many.
    pub fn rows(
        &self,
        snapshot: &Snapshot,
        recent: &Recent,
        takes: impl Fn(&Device) -> bool,
        room: usize,
    ) -> Vec<Row> {
        let devices = snapshot.devices.iter().enumerate();
        let devices: Vec<_> = devices.filter(|(_, device)| takes(device)).collect();
        let is_full = devices.len() > room;
        let mut rows: Vec<Row> = Vec::new();
        // Whether each is folded, and the row of those that are counted, and of those that are in no sum.
        let mut groups: BTreeMap<Group<'_>, (bool, [Option<usize>; 2])> = BTreeMap::new();
        for (place, device) in devices {
            let Some(group) = self.group(&device.name) else {
                rows.push(Row::new(None, place));
                continue;
            };
            let (is_folded, of_group) = groups.entry(group).or_insert_with(|| {
                let folded = self.folded.get(&group.pattern());
                (folded.copied().unwrap_or(is_full), [None; 2])
            });
            let row = &mut of_group[usize::from(device.counted_in_other)];
            match *row {
                Some(row) if *is_folded => rows[row].places.push(place),
                _ => {
                    *row = Some(rows.len());
                    rows.push(Row::new(is_folded.then(|| group.pattern()), place));
                }
            }
        }
        for row in &mut rows {
            if row.places.len() == 1 {
                row.group = None;
            } else {
                let stage = |stage| (stage, row.stage(stage, snapshot, recent).into_owned());
                row.stages = STAGES.map(stage).into();
            }
        }
        rows
    }

    /// Folds a group, or unfolds it.
    pub fn fold(&mut self, group: String, is_folded: bool) {
        self.folded.insert(group, is_folded);
    }

    /// The group that a device of this name is in.
    pub fn group<'a>(&'a self, name: &'a str) -> Option<Group<'a>> {
        let named = self.named.iter().find(|pattern| pattern.matches(name));
        named
            .map(|pattern| Group::Named(pattern.as_str()))
            .or_else(|| Group::of(name))
    }
}

impl<'a> Group<'a> {
    /// By what the name begins with, up to a digit or a separator; absent where neither is in it.
    fn of(name: &'a str) -> Option<Self> {
        let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if name.bytes().take_while(is_digit).count() >= HASH {
            return Some(Self::Hash);
        }
        let separates = |it: char| "-_.:".contains(it);
        let at = name.find(|it: char| it.is_ascii_digit() || separates(it))?;
        let until = at + usize::from(name[at..].starts_with(separates));
        (at > 0).then(|| Self::Begin(&name[..until]))
    }

    /// A pattern that fits their names.
    pub fn pattern(self) -> String {
        match self {
            Self::Named(pattern) => pattern.to_owned(),
            Self::Begin(begin) => format!("{}*", Pattern::escape(begin)),
            Self::Hash => HASHES.to_owned(),
        }
    }
}

impl Row {
    fn new(group: Option<String>, place: usize) -> Self {
        Self {
            group,
            places: vec![place],
            stages: BTreeMap::new(),
        }
    }

    /// Its devices.
    pub fn devices<'a>(
        &'a self,
        snapshot: &'a Snapshot,
    ) -> impl Iterator<Item = &'a Device> + Clone {
        let places = self.places.iter();
        places.filter_map(|&place| snapshot.devices.get(place))
    }

    /// How long a stage took in the window, of all of them.
    pub fn stage(&self, stage: Stage, snapshot: &Snapshot, recent: &Recent) -> Cow<'_, Histogram> {
        if let Some(histogram) = self.stages.get(&stage) {
            return Cow::Borrowed(histogram);
        }
        let mut slots = Slots::default();
        for did in self.devices(snapshot).filter_map(|it| recent.of(it)) {
            did.add_stage(stage, &mut slots);
        }
        Cow::Owned(slots.histogram())
    }

    /// Whether a device is among them.
    pub fn has(&self, number: DeviceNumber, snapshot: &Snapshot) -> bool {
        self.devices(snapshot).any(|device| device.number == number)
    }

    /// The first of them.
    pub fn first(&self, snapshot: &Snapshot) -> Option<DeviceNumber> {
        self.devices(snapshot).next().map(|device| device.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_begin_alike_are_a_group() {
        let hash = "4fa5d3b7c8e1a296".repeat(4);
        let cases = [
            ("image-63", Some("image-*")),
            ("layer_4fa5d3b7", Some("layer_*")),
            ("loop3p1-verity", Some("loop*")),
            ("system-verity", Some("system-*")),
            (&hash, Some("[0-9a-f]*")),
            ("root", None),
            ("-root", None),
            ("7", None),
            ("", None),
            ("a[b-1", Some("a[[]b-*")),
            ("größe.1", Some("größe.*")),
        ];
        for (name, expected) in cases {
            let pattern = Group::of(name).map(Group::pattern);
            assert_eq!(pattern.as_deref(), expected, "{name}");
            if let Some(pattern) = pattern {
                let pattern = Pattern::new(&pattern).expect("a pattern");
                assert!(pattern.matches(name), "{name}");
            }
        }
    }
}
