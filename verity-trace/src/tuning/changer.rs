//! What changes a device, and puts back what it found: also when it is dropped, as by a panic.

use verity_trace::dm::{self, Fault, Held, Identity, Line, Live, Mapper as _, Staged, Stopped};
use verity_trace::error::Result;
use verity_trace::kernel;
use verity_trace::recommend::{node, quoted};
use verity_trace::tune::{Note, Side, Undo, words};

use super::notes::Notes;
use crate::say;

/// What is changed.
#[derive(Clone, Debug)]
pub enum Change {
    /// The device's table: that of A and of B.
    Tables([Line; 2]),
    /// The module's `use_bh_bytes`.
    Limits([[u64; 4]; 2]),
}

/// See the module.
pub struct Changer<'a> {
    identity: Identity,
    name: String,
    change: Change,
    found: Side,
    now: Side,
    notes: &'a Notes,
    note: Note,
    /// Whether something may be otherwise than it was found.
    is_open: bool,
}

impl<'a> Changer<'a> {
    /// Nothing is changed yet.
    pub fn new(live: &Live, change: Change, found: Side, notes: &'a Notes) -> Result<Self> {
        let undo = undo(&change, found);
        let note = Note::new(&kernel::boot_id()?, &live.identity, &live.name, undo);
        Ok(Self {
            identity: live.identity.clone(),
            name: live.name.clone(),
            change,
            found,
            now: found,
            notes,
            note,
            is_open: false,
        })
    }

    /// For what a run left that could not put it back; absent where the note names no device.
    pub fn of(note: &Note, notes: &'a Notes) -> Option<Self> {
        let identity = note.identity()?;
        let change = match &note.undo {
            Undo::Table { found, loaded } => Change::Tables([found.clone(), loaded.clone()]),
            Undo::Limits { found, set } => Change::Limits([*found, *set]),
        };
        Some(Self {
            identity,
            name: note.name.clone(),
            change,
            found: Side::A,
            now: Side::B,
            notes,
            note: note.clone(),
            is_open: true,
        })
    }

    /// Gives the device a setting: a table is loaded also where it has that setting already, so that it begins with an
    /// empty cache of hash blocks each time.
    pub fn give(&mut self, side: Side) -> Result<Result<(), Stopped>> {
        if !self.is_open {
            self.notes.keep(&self.note)?;
            self.is_open = true;
        }
        let given = match &self.change {
            Change::Tables(lines) => self.swap(&lines[self.now as usize], &lines[side as usize]),
            Change::Limits(limits) => set(limits[self.now as usize], limits[side as usize]),
        };
        if given.is_ok() {
            self.now = side;
        }
        Ok(given)
    }

    /// That the device has the setting that it was given.
    pub fn check(&self) -> Result<(), Stopped> {
        match &self.change {
            Change::Tables(lines) => {
                let live = Held::open(self.identity.number)?.look()?;
                dm::is_as_left(&live, &self.identity, &lines[self.now as usize])
            }
            Change::Limits(limits) => are(limits[self.now as usize]),
        }
    }

    /// Puts back what was found, where there still is what was given. The note stays where that could be done later.
    pub fn put_back(&mut self) -> Result<(), NotBack> {
        if !self.is_open {
            return Ok(());
        }
        let (found, other) = (self.found as usize, self.found.other() as usize);
        let put = match &self.change {
            Change::Tables(lines) => self.put_table_back(&lines[other], &lines[found]),
            Change::Limits(limits) => put_limits_back(limits[other], limits[found]),
        };
        match &put {
            Err(NotBack::Yet(_)) => self.is_open = false,
            Err(NotBack::Theirs(_)) => self.close(),
            Ok(()) => {
                self.now = self.found;
                self.close();
            }
        }
        put
    }

    /// Leaves the device as it is now.
    pub fn leave(&mut self) {
        if self.is_open {
            self.close();
        }
    }

    /// What to type where it could not be put back.
    pub fn by_hand(&self) -> String {
        let node = node(&self.name, self.identity.number);
        let command = match &self.change {
            Change::Tables(lines) => quoted(&node).and_then(|node| {
                let table = quoted(&lines[self.found as usize].to_string())?;
                Ok(format!(
                    "dmsetup reload {node} --readonly --table {table} && dmsetup resume {node}"
                ))
            }),
            Change::Limits(limits) => Ok(format!(
                "echo {} > /sys/module/dm_verity/parameters/use_bh_bytes",
                words(limits[self.found as usize])
            )),
        };
        command.unwrap_or_else(|why| why)
    }

    fn close(&mut self) {
        self.is_open = false;
        if let Err(error) = self.notes.remove(&self.note) {
            say(&error.to_string());
        }
    }

    fn swap(&self, from: &Line, to: &Line) -> Result<(), Stopped> {
        let mut held = Held::open(self.identity.number)?;
        let status = held.look()?.status;
        if status
            .and_then(|it| it.fec_corrected)
            .is_some_and(|it| it > 0)
        {
            return Err(Stopped::Changed(
                "blocks were corrected meanwhile, and each new table forgets how many",
            ));
        }
        dm::switch(&mut held, &self.identity, from, to)
    }

    fn put_table_back(&self, ours: &Line, found: &Line) -> Result<(), NotBack> {
        let mut held = Held::open(self.identity.number).map_err(not_back)?;
        let live = held.look().map_err(not_back)?;
        let is_staged = [ours, found].map(|it| live.staged == Staged::Line(it.clone()));
        if self.identity.is_still(&live.identity) && is_staged.contains(&true) {
            held.clear().map_err(not_back)?;
        }
        if self.has(&live, ours) {
            let Err(stopped) = dm::switch(&mut held, &self.identity, ours, found) else {
                return Ok(());
            };
            let live = held.look().map_err(not_back)?;
            if self.has(&live, ours) {
                return Err(NotBack::Yet(stopped));
            }
            return self.is_found(&live, found);
        }
        self.is_found(&live, found)
    }

    /// Whether the device has this table.
    fn has(&self, live: &Live, table: &Line) -> bool {
        self.identity.is_still(&live.identity) && live.line.as_ref() == Some(table)
    }

    fn is_found(&self, live: &Live, found: &Line) -> Result<(), NotBack> {
        if self.has(live, found) {
            return Ok(());
        }
        Err(NotBack::Theirs(if self.identity.is_still(&live.identity) {
            Stopped::Changed("somebody else changed its table")
        } else {
            Stopped::Gone
        }))
    }
}

fn undo(change: &Change, found: Side) -> Undo {
    let (found, other) = (found as usize, found.other() as usize);
    match change {
        Change::Tables(lines) => Undo::Table {
            found: lines[found].clone(),
            loaded: lines[other].clone(),
        },
        Change::Limits(limits) => Undo::Limits {
            found: limits[found],
            set: limits[other],
        },
    }
}

/// Why what was found was not put back.
#[derive(Debug, thiserror::Error)]
pub enum NotBack {
    /// What is there is nothing of ours any more.
    #[error("{0}")]
    Theirs(Stopped),
    /// It could be done later.
    #[error("{0}")]
    Yet(Stopped),
}

fn not_back(fault: Fault) -> NotBack {
    match Stopped::from(fault) {
        Stopped::Gone => NotBack::Theirs(Stopped::Gone),
        stopped => NotBack::Yet(stopped),
    }
}

fn put_limits_back(ours: [u64; 4], found: [u64; 4]) -> Result<(), NotBack> {
    if are(found).is_ok() {
        return Ok(());
    }
    are(ours).map_err(NotBack::Theirs)?;
    set(ours, found).map_err(NotBack::Yet)
}

impl Drop for Changer<'_> {
    fn drop(&mut self) {
        if !self.is_open {
            return;
        }
        match self.put_back() {
            Ok(()) => say(&format!("put {} back as it was found", self.note.subject())),
            Err(stopped @ NotBack::Theirs(_)) => {
                say(&format!("{}: {stopped}", self.note.subject()));
            }
            Err(stopped @ NotBack::Yet(_)) => say(&format!(
                "{} was not put back: {stopped}; by hand: {}",
                self.note.subject(),
                self.by_hand()
            )),
        }
    }
}

/// Sets the limits, where they are as they were left.
fn set(from: [u64; 4], to: [u64; 4]) -> Result<(), Stopped> {
    are(from)?;
    kernel::set_use_bh_bytes(to).map_err(|error| Stopped::Refused(error.to_string()))?;
    are(to)
}

fn are(limits: [u64; 4]) -> Result<(), Stopped> {
    if kernel::use_bh_bytes().as_deref() == Some(&limits[..]) {
        return Ok(());
    }
    Err(Stopped::Changed("somebody else has set use_bh_bytes"))
}
