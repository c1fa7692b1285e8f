//! The snapshots of a recording, each found by its place in the file: what is kept in memory grows
//! with their number, and only by a few bytes for each.

use std::collections::VecDeque;
use std::io::{Read, Seek};
use std::sync::Arc;
use std::time::Duration;

use crate::aggregate;
use crate::dm::VerityDevice;
use crate::mounts::Mounts;
use crate::recording::{Bookmark, Fault, Moment, Picture, Reader, What};
use crate::selection::Selection;
use crate::snapshot::Snapshot;

/// Snapshots that are kept, so that going on needs none to be read twice.
const KEPT: usize = 64;
/// Devices that all of these have: of more, fewer snapshots are kept.
const KEPT_DEVICES: usize = 1_024;

/// See the module.
pub struct Film<R> {
    reader: Reader<R>,
    frames: Vec<Moment>,
    /// Where to look for the next one; absent once all were found.
    ahead: Option<Bookmark>,
    /// The number of the one that was read last, and where that is.
    last: Option<(usize, Bookmark)>,
    selection: Selection,
    /// The last ones that were asked for, by their number.
    kept: VecDeque<(usize, Arc<Snapshot>)>,
}

impl<R: Read + Seek> Film<R> {
    /// Looks for the first snapshot of a recording.
    pub fn new(mut reader: Reader<R>, selection: Selection) -> Result<Self, Fault> {
        let ahead = Some(reader.leave());
        let mut film = Self {
            reader,
            frames: Vec::new(),
            ahead,
            last: None,
            selection,
            kept: VecDeque::new(),
        };
        if !film.find()? {
            return Err(Fault {
                offset: film.reader.place().offset,
                what: What::Contents("there is no snapshot before it".to_owned()),
            });
        }
        Ok(film)
    }

    /// Looks for one more, and says whether there was one: until its end, or until where it was cut.
    pub fn find(&mut self) -> Result<bool, Fault> {
        let Some(ahead) = self.ahead.take() else {
            return Ok(false);
        };
        self.reader.go_on(ahead)?;
        let Some(moment) = self.reader.next_moment()? else {
            return Ok(false);
        };
        self.frames.push(moment);
        self.ahead = Some(self.reader.leave());
        Ok(true)
    }

    /// Whether all snapshots were found.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.ahead.is_none()
    }

    /// What the clock on the wall said when the first was made, since the Unix epoch.
    pub fn began(&self) -> Duration {
        let start = self.frames.first().map_or(0, |frame| frame.monotonic_ns);
        Duration::from_nanos(self.reader.header().realtime_at(start))
    }

    /// When each snapshot was made that was found, since the first.
    pub fn times(&self) -> Vec<Duration> {
        let start = self.frames.first().map_or(0, |frame| frame.monotonic_ns);
        let since = |frame: &Moment| frame.monotonic_ns.saturating_sub(start);
        let times = self.frames.iter().map(since);
        times.map(Duration::from_nanos).collect()
    }

    /// The snapshot of this number, and what happened since the one of another.
    pub fn snapshot(&mut self, number: usize, earlier: usize) -> Result<Snapshot, Fault> {
        let mut snapshot = Snapshot::clone(&*self.frame(number)?);
        if number > earlier {
            let earlier = self.frame(earlier)?;
            aggregate::relate(&mut snapshot, &earlier);
        }
        if !self.selection.is_everything() {
            let all: Vec<_> = snapshot.devices.iter().map(VerityDevice::from).collect();
            let wanted = self.selection.of(&all, &Mounts::none());
            let is_wanted = |number| wanted.iter().any(|it| it.number == number);
            snapshot.devices.retain(|device| is_wanted(device.number));
        }
        Ok(snapshot)
    }

    fn frame(&mut self, number: usize) -> Result<Arc<Snapshot>, Fault> {
        if let Some((_, snapshot)) = self.kept.iter().find(|(kept, _)| *kept == number) {
            return Ok(Arc::clone(snapshot));
        }
        let picture = self.read(number)?;
        let snapshot = picture.document.snapshot().map_err(|error| Fault {
            offset: self.frames[number].place.offset,
            what: What::Contents(error.to_string()),
        })?;
        let snapshot = Arc::new(snapshot);
        let devices = snapshot.devices.len().max(1);
        while self.kept.len() >= KEPT.min((KEPT_DEVICES / devices).max(2)) {
            self.kept.pop_front();
        }
        self.kept.push_back((number, Arc::clone(&snapshot)));
        Ok(snapshot)
    }

    /// Reads one: it goes on from the one before where that was the last, and else from one that can be read
    /// without another.
    fn read(&mut self, number: usize) -> Result<Picture<'static>, Fault> {
        let until = &self.frames[..=number];
        let whole = until.iter().rposition(|frame| frame.is_whole).unwrap_or(0);
        let mut next = whole;
        match self.last.take() {
            Some((last, bookmark)) if (whole..number).contains(&last) => {
                self.reader.go_on(bookmark)?;
                next = last + 1;
            }
            _ => self.reader.go_to(until[whole].place)?,
        }
        let changed = |offset| Fault {
            offset,
            what: What::Contents("the file has changed meanwhile".to_owned()),
        };
        for frame in &until[next..] {
            let found = self.reader.next_moment()?;
            if found.is_none_or(|found| found.place != frame.place) {
                return Err(changed(frame.place.offset));
            }
        }
        let picture = self.reader.picture()?;
        self.last = Some((number, self.reader.leave()));
        Ok(picture)
    }
}
