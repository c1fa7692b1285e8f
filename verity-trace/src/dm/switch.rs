//! One table for another on a running device, so that nobody else's change is undone and nothing is left half done.
//!
//! Device-mapper has two places for a table: the live one, and one that is staged by a load and becomes live by a resume.
//! Anybody may use both, and no lock spans a load and a resume. So everything is read again before the resume, which
//! leaves a window of two calls, and once more after it.

use std::fmt::{self, Display, Formatter};

use serde::{Deserialize, Serialize};

use crate::snapshot::DeviceNumber;
use crate::target::{Status, Verdict};

/// The whole table of a device with one target, which is verity's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// Length of the device, in sectors of 512 bytes.
    pub sectors: u64,
    /// What the target is given, as the kernel prints it.
    pub parameters: String,
}

/// As dmsetup has it.
impl Display for Line {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "0 {} verity {}", self.sectors, self.parameters)
    }
}

/// What tells a device from every other one that there ever was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its number.
    pub number: DeviceNumber,
    /// The kernel's sequence number of the disk; absent before Linux 5.15.
    pub disk_sequence: Option<u64>,
    /// Device-mapper's uuid, which may be empty.
    pub uuid: String,
}

impl Identity {
    /// Whether that is the same device. Its name does not matter, which can be changed.
    #[must_use]
    pub fn is_still(&self, found: &Self) -> bool {
        self == found
    }
}

/// A table that waits for a resume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Staged {
    /// There is none.
    Nothing,
    /// One for verity.
    Line(Line),
    /// Any other.
    Other,
}

/// What device-mapper says of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Live {
    /// Which device.
    pub identity: Identity,
    /// Its name, which can be changed at any time. It comes from outside: escape it before printing.
    pub name: String,
    /// Its table; absent where that is not one line of verity.
    pub line: Option<Line>,
    /// What waits for a resume.
    pub staged: Staged,
    /// Whether I/Os wait.
    pub is_suspended: bool,
    /// Whether nobody can write to it.
    pub is_read_only: bool,
    /// What the target found so far; absent when it does not say.
    pub status: Option<Status>,
}

/// Why device-mapper did not do something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// There is no such device.
    Gone,
    /// A signal came while I/Os in flight were waited for.
    Interrupted,
    /// Anything else.
    Refused(String),
}

/// Device-mapper, as far as one device is concerned that stays what it is meanwhile.
pub trait Mapper {
    /// What it says of the device.
    fn look(&mut self) -> Result<Live, Fault>;
    /// Stages a table, in the place of one that is staged.
    fn load(&mut self, line: &Line) -> Result<(), Fault>;
    /// Makes the staged table the live one, if there is one, and lets I/Os go on.
    fn resume(&mut self) -> Result<(), Fault>;
    /// Takes the staged table away.
    fn clear(&mut self) -> Result<(), Fault>;
}

/// Why a device does not have the table that it was to have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stopped {
    /// The device is gone, or its number is another one's by now.
    #[error("the device is gone")]
    Gone,
    /// Somebody else changed it.
    #[error("{0}")]
    Changed(&'static str),
    /// A block did not match its hash. Another table would take away that this is known.
    #[error(
        "its status is corruption: a block did not match its hash, and a new table would erase that"
    )]
    Corrupt,
    /// A signal came each time.
    #[error("signals kept it from waiting for the I/Os in flight")]
    Interrupted,
    /// The kernel did not do it.
    #[error("{0}")]
    Refused(String),
}

impl From<Fault> for Stopped {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Gone => Self::Gone,
            Fault::Interrupted => Self::Interrupted,
            Fault::Refused(text) => Self::Refused(text),
        }
    }
}

/// How often a switch is tried that does not come about. A signal interrupts the wait for I/Os in flight, which older
/// kernels report as any other failure (`do_resume`, drivers/md/dm-ioctl.c, until it
/// looked at what `dm_suspend` returns).
const TRIES: usize = 8;

/// Gives the device the table `to`, if it has the table `from`. Where that fails, the device has the table that it had,
/// or one that somebody else gave it, and it is not suspended, unless the kernel refuses even that.
pub fn switch(
    mapper: &mut impl Mapper,
    identity: &Identity,
    from: &Line,
    to: &Line,
) -> Result<(), Stopped> {
    let mut last = Fault::Interrupted;
    for _ in 0..TRIES {
        match attempt(mapper, identity, from, to)? {
            Ok(()) => return Ok(()),
            Err(fault) => last = fault,
        }
    }
    Err(last.into())
}

/// The same once. Where the kernel did not take the table, and everything is as it was, it is worth another try.
fn attempt(
    mapper: &mut impl Mapper,
    identity: &Identity,
    from: &Line,
    to: &Line,
) -> Result<Result<(), Fault>, Stopped> {
    let before = mapper.look()?;
    is_as_left(&before, identity, from)?;
    if before.staged != Staged::Nothing {
        return Err(Stopped::Changed("somebody else has staged a table for it"));
    }
    mapper.load(to)?;
    let staged = mapper.look()?;
    let found = is_as_left(&staged, identity, from).and_then(|()| match &staged.staged {
        Staged::Line(line) if line == to => Ok(()),
        _ => Err(Stopped::Changed(
            "the table that is staged for it is not the one that was loaded",
        )),
    });
    if let Err(stopped) = found {
        take_back(mapper, &staged, to);
        return Err(stopped);
    }
    let resumed = mapper.resume();
    let mut after = mapper.look()?;
    if !identity.is_still(&after.identity) {
        return Err(Stopped::Gone);
    }
    take_back(mapper, &after, to);
    if after.is_suspended && resumed.is_err() {
        revive(mapper, from)?;
        after = mapper.look()?;
    }
    let line = after.line.as_ref();
    match resumed {
        Ok(()) if line == Some(to) => Ok(Ok(())),
        // The kernel took it all the same, or somebody else's resume did it.
        Err(_) if line == Some(to) && from != to => Ok(Ok(())),
        Err(fault) if line == Some(from) => Ok(Err(fault)),
        _ => Err(Stopped::Changed(
            "somebody else changed its table at the same time",
        )),
    }
}

/// That nobody but this has changed the device, and that it found nothing corrupt.
pub fn is_as_left(live: &Live, identity: &Identity, table: &Line) -> Result<(), Stopped> {
    if !identity.is_still(&live.identity) {
        return Err(Stopped::Gone);
    }
    if live.line.as_ref() != Some(table) {
        return Err(Stopped::Changed("somebody else changed its table"));
    }
    if live.is_suspended {
        return Err(Stopped::Changed("somebody else suspended it"));
    }
    match live.status.as_ref().map(|it| &it.verdict) {
        Some(Verdict::Corruption) => Err(Stopped::Corrupt),
        _ => Ok(()),
    }
}

/// Lets I/Os go on where the kernel could not take a table and left the device suspended: with the table that it has, or
/// else with the one that it had.
fn revive(mapper: &mut impl Mapper, before: &Line) -> Result<(), Fault> {
    if mapper.resume().is_ok() {
        return Ok(());
    }
    mapper.load(before)?;
    mapper.resume()
}

/// Takes away what is staged, where it is ours.
fn take_back(mapper: &mut impl Mapper, live: &Live, ours: &Line) {
    if live.staged == Staged::Line(ours.clone()) {
        // Where it cannot be taken away it stays without effect.
        let _ = mapper.clear();
    }
}

#[cfg(test)]
mod tests;
