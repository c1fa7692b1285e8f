//! The snapshots of a recording, each found by its place in the file: what is kept in memory grows
//! with their number, and only by a few bytes for each.

use std::collections::{BTreeSet, VecDeque};
use std::io::{Read, Seek};
use std::sync::Arc;
use std::time::Duration;

use crate::aggregate;
use crate::decode;
use crate::dm::VerityDevice;
use crate::histogram::Nanos;
use crate::mounts::Mounts;
use crate::picked::{self, Name, Picked, Picker, Seen};
use crate::recording::{
    Block, Bookmark, Fault, Filter, Landmark, Moment, Picture, Place, Reader, What,
};
use crate::selection::Selection;
use crate::snapshot::{Era, Snapshot};

/// Snapshots that are kept, so that going on needs none to be read twice.
const KEPT: usize = 64;
/// Devices that all of these have: of more, fewer snapshots are kept.
const KEPT_DEVICES: usize = 1_024;

/// See the module.
pub struct Film<R> {
    reader: Reader<R>,
    frames: Vec<Frame>,
    /// Where to look for the next one; absent once all were found.
    ahead: Option<Bookmark>,
    /// The number of the one that was read last, and where that is.
    last: Option<(usize, Bookmark)>,
    /// Which I/Os have records.
    seen: Seen,
    /// The module's limits, each from the frame of this number on.
    limits: Vec<(usize, Option<Vec<u64>>)>,
    selection: Selection,
    /// The last ones that were asked for, by their number.
    kept: VecDeque<(usize, Arc<Snapshot>)>,
    /// The I/Os that were asked for last, by the snapshot after them.
    picked: Option<(usize, Arc<Picked>)>,
}

/// A snapshot, and where the next block is.
#[derive(Clone, Copy, Debug)]
struct Frame {
    moment: Moment,
    after: Place,
}

fn seen(filter: Filter) -> Seen {
    Seen {
        one_in: filter.one_in,
        slow: Nanos(filter.slower_than_ns),
        ..Seen::EVERYTHING
    }
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
            seen: Seen::EVERYTHING,
            limits: Vec::new(),
            selection,
            kept: VecDeque::new(),
            picked: None,
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
        while let Some(landmark) = self.reader.next_landmark()? {
            match landmark {
                Landmark::Machine(machine) => self.seen = seen(machine.filter),
                Landmark::Parameters(it) => self.limits.push((self.frames.len(), it.use_bh_bytes)),
                Landmark::Moment(moment) => {
                    let after = self.reader.place();
                    self.frames.push(Frame { moment, after });
                    self.ahead = Some(self.reader.leave());
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Whether all snapshots were found.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.ahead.is_none()
    }

    /// What the clock on the wall said when the first was made, since the Unix epoch.
    pub fn began(&self) -> Duration {
        let start = self
            .frames
            .first()
            .map_or(0, |frame| frame.moment.monotonic_ns);
        Duration::from_nanos(self.reader.header().realtime_at(start))
    }

    /// When each snapshot was made that was found, since the first.
    pub fn times(&self) -> Vec<Duration> {
        (0..self.frames.len()).map(|at| self.time(at)).collect()
    }

    fn time(&self, number: usize) -> Duration {
        let start = self
            .frames
            .first()
            .map_or(0, |frame| frame.moment.monotonic_ns);
        let time = self.frames[number].moment.monotonic_ns;
        Duration::from_nanos(time.saturating_sub(start))
    }

    /// The snapshot of this number, and what happened since the one of another, or since the start.
    pub fn snapshot(&mut self, number: usize, earlier: Option<usize>) -> Result<Snapshot, Fault> {
        let mut snapshot = Snapshot::clone(&*self.frame(number)?);
        match earlier {
            None => aggregate::relate_to_start(&mut snapshot),
            Some(earlier) if number > earlier => {
                let earlier = self.frame(earlier)?;
                aggregate::relate(&mut snapshot, &earlier);
            }
            Some(_) => {}
        }
        // Older recordings have them in no snapshot.
        let after = self.limits.partition_point(|&(from, _)| from <= number);
        if let Some((_, limits)) = after.checked_sub(1).and_then(|at| self.limits.get(at)) {
            snapshot.use_bh_bytes.clone_from(limits);
        }
        if !self.selection.is_everything() {
            let all: Vec<_> = snapshot.devices.iter().map(VerityDevice::from).collect();
            let wanted = self.selection.of(&all, &Mounts::none());
            let is_wanted = |number| wanted.iter().any(|it| it.number == number);
            snapshot.devices.retain(|device| is_wanted(device.number));
        }
        Ok(snapshot)
    }

    /// How many devices the snapshot of this number has.
    pub fn devices(&mut self, number: usize) -> Result<usize, Fault> {
        Ok(self.frame(number)?.devices.len())
    }

    /// I/Os that finished in the interval before the snapshot of this number. Which ones are in flight then no
    /// recording says.
    pub fn picked(&mut self, number: usize) -> Result<Arc<Picked>, Fault> {
        if let Some((of, picked)) = &self.picked
            && *of == number
        {
            return Ok(Arc::clone(picked));
        }
        let snapshot = self.snapshot(number, Some(number))?;
        let before = number.checked_sub(1);
        let mut picker = Picker::default();
        let mut is_readable = true;
        let mut era = None;
        if let Some(before) = before {
            let is_shown: BTreeSet<_> = snapshot.devices.iter().map(|it| it.number).collect();
            self.reader.go_to(self.frames[before].after)?;
            let mut records = Vec::new();
            let until = self.frames[number].moment.place.offset;
            while self.reader.place().offset < until
                && let Some(block) = self.reader.next_block()?
            {
                let Block::Ios(ios) = block else { continue };
                records.clear();
                // What can be read is shown, and that there was more is said.
                if self.reader.records(&ios, &mut records).is_err() {
                    is_readable = false;
                    continue;
                }
                era = era.or(ios.span.era);
                let records = records.iter();
                records
                    .filter(|it| is_shown.contains(&decode::device_number(it.device)))
                    .for_each(|it| picker.take(it));
            }
        }
        let of_each = picked::of_each(snapshot.devices.len());
        let picking = picker.pick(era.unwrap_or(Era::NoOption), of_each);
        let times = [before.unwrap_or(number), number].map(|at| self.time(at));
        let ios = Arc::new(Picked {
            slowest: picking.slowest,
            recent: picking.recent,
            of_each,
            in_flight: None,
            seen: Some(self.seen),
            has_undecoded: picking.has_undecoded || !is_readable,
            span: times[0]..times[1],
            devices: Name::of_all(&snapshot.devices),
        });
        self.picked = Some((number, Arc::clone(&ios)));
        Ok(ios)
    }

    fn frame(&mut self, number: usize) -> Result<Arc<Snapshot>, Fault> {
        if let Some((_, snapshot)) = self.kept.iter().find(|(kept, _)| *kept == number) {
            return Ok(Arc::clone(snapshot));
        }
        let picture = self.read(number)?;
        let snapshot = picture.document.snapshot().map_err(|error| Fault {
            offset: self.frames[number].moment.place.offset,
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
        let whole = until
            .iter()
            .rposition(|frame| frame.moment.is_whole)
            .unwrap_or(0);
        let mut next = whole;
        match self.last.take() {
            Some((last, bookmark)) if (whole..number).contains(&last) => {
                self.reader.go_on(bookmark)?;
                next = last + 1;
            }
            _ => self.reader.go_to(until[whole].moment.place)?,
        }
        let changed = |offset| Fault {
            offset,
            what: What::Contents("the file has changed meanwhile".to_owned()),
        };
        for frame in &until[next..] {
            let place = frame.moment.place;
            let found = loop {
                match self.reader.next_landmark()? {
                    Some(Landmark::Moment(found)) => break Some(found.place),
                    Some(_) => {}
                    None => break None,
                }
            };
            if found != Some(place) {
                return Err(changed(place.offset));
            }
        }
        let picture = self.reader.picture()?;
        self.last = Some((number, self.reader.leave()));
        Ok(picture)
    }
}
