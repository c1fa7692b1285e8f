//! What happened in some time before a snapshot: of the earlier ones as few are kept as that takes, and the
//! fewer the older they are, so that 10 minutes of 500 devices stay small.

mod packed;

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use packed::Packed;

use crate::aggregate;
use crate::snapshot::{Cpu, Device, DeviceNumber, Snapshot};

/// How much time before a moment the numbers are of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Window {
    /// A second.
    #[default]
    Second,
    /// Ten seconds.
    TenSeconds,
    /// A minute.
    Minute,
    /// Ten minutes.
    TenMinutes,
    /// All since the start.
    All,
}

impl Window {
    /// Every window, the shortest first.
    pub const ALL: [Self; 5] = [
        Self::Second,
        Self::TenSeconds,
        Self::Minute,
        Self::TenMinutes,
        Self::All,
    ];

    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Second => "1 s",
            Self::TenSeconds => "10 s",
            Self::Minute => "1 min",
            Self::TenMinutes => "10 min",
            Self::All => "all",
        }
    }

    /// How long it is; absent for all.
    #[must_use]
    pub const fn length(self) -> Option<Duration> {
        match self {
            Self::Second => Some(Duration::from_secs(1)),
            Self::TenSeconds => Some(Duration::from_secs(10)),
            Self::Minute => Some(Duration::from_mins(1)),
            Self::TenMinutes => Some(LONGEST),
            Self::All => None,
        }
    }

    /// The next longer one, if there is one.
    #[must_use]
    pub fn longer(self) -> Self {
        let longer = Self::ALL.get(self as usize + 1);
        longer.copied().unwrap_or(self)
    }

    /// The next shorter one, if there is one.
    #[must_use]
    pub fn shorter(self) -> Self {
        let shorter = (self as usize).checked_sub(1);
        shorter.map_or(self, |at| Self::ALL[at])
    }
}

/// The longest window that is not all.
const LONGEST: Duration = Duration::from_mins(10);

/// Devices from which on less is kept.
const MANY: usize = 100;

/// See the module. Times are those in which probes were attached.
#[derive(Clone, Debug, Default)]
pub struct Lookback {
    /// The last one last.
    kept: VecDeque<Arc<Kept>>,
    /// With which everything began anew.
    start: Option<Arc<Snapshot>>,
}

/// What of a snapshot later ones are set against.
#[derive(Debug)]
struct Kept {
    watched: Duration,
    /// By number and sequence number.
    devices: BTreeMap<(DeviceNumber, Option<u64>), Arc<Packed>>,
    cpus: Vec<Cpu>,
}

impl Lookback {
    /// Keeps what later snapshots of the same source need of this one.
    pub fn add(&mut self, snapshot: &Snapshot) {
        if self
            .kept
            .back()
            .is_some_and(|it| it.watched > snapshot.watched)
        {
            // It is of something else.
            *self = Self::default();
        }
        if self
            .kept
            .back()
            .is_some_and(|it| it.watched == snapshot.watched)
        {
            self.kept.pop_back();
        }
        let last = self.kept.back().map(Arc::as_ref);
        let kept = Kept::of(snapshot, last);
        self.kept.push_back(Arc::new(kept));
        self.thin();
    }

    /// Lets everything begin with this snapshot.
    pub fn begin_anew(&mut self, snapshot: Arc<Snapshot>) {
        self.kept.clear();
        self.kept.push_back(Arc::new(Kept::of(&snapshot, None)));
        self.start = Some(snapshot);
    }

    /// Whether everything began anew.
    #[must_use]
    pub const fn began_anew(&self) -> bool {
        self.start.is_some()
    }

    /// Counts what a snapshot has from where everything began anew.
    pub fn count_anew(&self, snapshot: &mut Snapshot) {
        if let Some(start) = &self.start {
            aggregate::begin_anew(snapshot, start);
        }
    }

    /// Says of a snapshot what happened in the window before it, as exactly as what is kept allows
    /// ([`Snapshot::interval`]). One that says already what happened recently, and has nothing before it,
    /// stays as it is.
    pub fn relate(&self, snapshot: &mut Snapshot, window: Window) {
        let watched = snapshot.watched;
        if self.reaches_start(watched, window) {
            match &self.start {
                Some(start) => aggregate::relate(snapshot, start),
                None => aggregate::relate_to_start(snapshot),
            }
        } else if let Some(earlier) = self.earlier(watched, window) {
            aggregate::relate_to(snapshot, earlier.watched, &earlier.cpus, |device| {
                let packed = earlier.totals(device)?;
                Some(Cow::Owned(packed.totals()))
            });
        } else if snapshot.interval.is_none() {
            aggregate::relate_to_start(snapshot);
        }
    }

    /// Whether this is the snapshot that everything begins with.
    #[must_use]
    pub fn begins_with(&self, snapshot: &Snapshot) -> bool {
        let start = self.start.as_ref();
        start.is_some_and(|start| start.watched == snapshot.watched)
    }

    /// Whether a window is of everything since the start.
    fn reaches_start(&self, watched: Duration, window: Window) -> bool {
        let start = self.start.as_ref().map_or(Duration::ZERO, |it| it.watched);
        let all = watched.saturating_sub(start);
        window.length().is_none_or(|length| length >= all)
    }

    /// The one before with which a window begins.
    fn earlier(&self, watched: Duration, window: Window) -> Option<&Kept> {
        let length = window.length()?;
        let earlier = self.kept.iter().filter(|it| it.watched < watched);
        let nearest = earlier.min_by_key(|it| watched.abs_diff(it.watched).abs_diff(length))?;
        Some(nearest)
    }

    /// Takes away what lies between two that are near enough to each other for their age.
    fn thin(&mut self) {
        let Some(last) = self.kept.back() else {
            return;
        };
        let (now, part) = (last.watched, part(last.devices.len()));
        let mut at = 1;
        while at + 1 < self.kept.len() {
            let (older, younger) = (self.kept[at - 1].watched, self.kept[at + 1].watched);
            if younger.abs_diff(older) <= spacing(now.abs_diff(younger), part) {
                self.kept.remove(at);
            } else {
                at += 1;
            }
        }
        while self.kept.len() > 1 && now.abs_diff(self.kept[1].watched) >= LONGEST {
            self.kept.pop_front();
        }
    }
}

impl Kept {
    /// Of devices that did nothing since the last one that is kept, the same is kept.
    fn of(snapshot: &Snapshot, last: Option<&Self>) -> Self {
        let devices = snapshot.devices.iter().filter_map(|device| {
            let totals = device.totals.as_ref()?;
            let same = last.and_then(|last| last.totals(device));
            let same = same.filter(|packed| packed.is_of(totals));
            let packed = same.map_or_else(|| Arc::new(Packed::new(totals)), Arc::clone);
            Some((key(device), packed))
        });
        Self {
            watched: snapshot.watched,
            devices: devices.collect(),
            cpus: snapshot.cpus.clone(),
        }
    }

    fn totals(&self, device: &Device) -> Option<&Arc<Packed>> {
        self.devices.get(&key(device))
    }
}

const fn key(device: &Device) -> (DeviceNumber, Option<u64>) {
    (device.number, device.disk_sequence)
}

/// Part of a window by which what is kept may miss its beginning.
const fn part(devices: usize) -> u32 {
    if devices < MANY { 10 } else { 4 }
}

/// How far apart two may be of which the younger one has this age: a part of the shortest window that may begin
/// between them.
fn spacing(age: Duration, part: u32) -> Duration {
    let mut lengths = Window::ALL.into_iter().filter_map(Window::length);
    let window = lengths.find(|&length| age <= length + length / part);
    window.unwrap_or(LONGEST) / part
}

#[cfg(test)]
mod tests;
