//! What happened in some time before a snapshot: of the earlier ones as few are kept as that takes, and the
//! fewer the older they are, so that 10 minutes of 500 devices stay small.

mod packed;
mod recent;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use packed::Packed;
use recent::{Before, Earlier};
pub use recent::{Did, Recent};

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

/// What is older is kept in few bytes. Until then most of those that come often have been taken away again.
const YOUNG: Duration = Duration::from_secs(4);

/// Devices from which on less is kept.
const MANY: usize = 100;

/// See the module. Times are those in which probes were attached.
#[derive(Clone, Debug, Default)]
pub struct Lookback {
    /// The last one last.
    kept: VecDeque<Arc<Kept>>,
    /// With which everything began anew.
    start: Option<Arc<Kept>>,
}

/// By number and sequence number.
type Key = (DeviceNumber, Option<u64>);

/// What of a snapshot later ones are set against.
#[derive(Debug)]
struct Kept {
    watched: Duration,
    what: What,
}

/// How it is kept.
#[derive(Debug)]
enum What {
    /// As it came, with the places of its devices: most are not kept for long.
    Whole(Arc<Snapshot>, BTreeMap<Key, usize>),
    /// In few bytes.
    Packed(BTreeMap<Key, Arc<Packed>>, Vec<Cpu>),
}

impl Lookback {
    /// Keeps what later snapshots of the same source need of this one.
    pub fn add(&mut self, snapshot: &Arc<Snapshot>) {
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
        self.kept.push_back(Arc::new(Kept::whole(snapshot)));
        self.thin();
        self.pack();
    }

    /// Lets everything begin with this snapshot.
    pub fn begin_anew(&mut self, snapshot: &Arc<Snapshot>) {
        let start = Arc::new(Kept::whole(snapshot));
        self.kept.clear();
        self.kept.push_back(Arc::clone(&start));
        self.start = Some(start);
    }

    /// Whether everything began anew.
    #[must_use]
    pub const fn began_anew(&self) -> bool {
        self.start.is_some()
    }

    /// Counts what a snapshot has from where everything began anew.
    pub fn count_anew(&self, snapshot: &mut Snapshot) {
        if let Some(What::Whole(start, _)) = self.start.as_ref().map(|it| &it.what) {
            aggregate::begin_anew(snapshot, start);
        }
    }

    /// What happened in the window before a snapshot, as exactly as what is kept allows. Of one that says already
    /// what happened recently, and has nothing before it, that is what it says.
    #[must_use]
    pub fn recent(&self, snapshot: &Snapshot, window: Window) -> Recent {
        let watched = snapshot.watched;
        let before = if self.reaches_start(watched, window) {
            self.start.clone().map_or(Before::Nothing, Before::Kept)
        } else if let Some(earlier) = self.earlier(watched, window) {
            Before::Kept(Arc::clone(earlier))
        } else if snapshot.interval.is_none() {
            Before::Nothing
        } else {
            Before::Told
        };
        Recent::new(snapshot, before)
    }

    /// The same of the snapshot that was kept last, for devices that have counts alone
    /// ([`Snapshot::with_counts_alone`]).
    #[must_use]
    pub fn recent_by_counts(&self, snapshot: &Snapshot, window: Window) -> Recent {
        let recent = self.recent(snapshot, window);
        recent.looked_up(self.kept.back().cloned())
    }

    /// Whether a window is of everything since the start.
    fn reaches_start(&self, watched: Duration, window: Window) -> bool {
        let start = self.start.as_ref().map_or(Duration::ZERO, |it| it.watched);
        let all = watched.saturating_sub(start);
        window.length().is_none_or(|length| length >= all)
    }

    /// The one before with which a window begins.
    fn earlier(&self, watched: Duration, window: Window) -> Option<&Arc<Kept>> {
        let length = window.length()?;
        let earlier = self.kept.iter().filter(|it| it.watched < watched);
        earlier.min_by_key(|it| watched.abs_diff(it.watched).abs_diff(length))
    }

    /// Takes away what lies between two that are near enough to each other for their age.
    fn thin(&mut self) {
        let Some(last) = self.kept.back() else {
            return;
        };
        let (now, part) = (last.watched, part(last.devices()));
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

impl Lookback {
    /// Packs those that are so old that most of their neighbours have been taken away.
    fn pack(&mut self) {
        let now = self.kept.back().map_or(Duration::ZERO, |it| it.watched);
        for at in 0..self.kept.len() {
            let kept = &self.kept[at];
            let What::Whole(snapshot, _) = &kept.what else {
                continue;
            };
            if now.abs_diff(kept.watched) <= YOUNG {
                return;
            }
            let before = at.checked_sub(1).map(|before| &self.kept[before].what);
            let what = What::packed(snapshot, before);
            let watched = kept.watched;
            self.kept[at] = Arc::new(Kept { watched, what });
        }
    }
}

impl Kept {
    fn whole(snapshot: &Arc<Snapshot>) -> Self {
        let devices = snapshot.devices.iter().enumerate();
        let places = devices.map(|(place, device)| (key(device), place));
        Self {
            watched: snapshot.watched,
            what: What::Whole(Arc::clone(snapshot), places.collect()),
        }
    }

    /// How many devices there were.
    fn devices(&self) -> usize {
        match &self.what {
            What::Whole(snapshot, _) => snapshot.devices.len(),
            What::Packed(devices, _) => devices.len(),
        }
    }

    fn cpus(&self) -> &[Cpu] {
        match &self.what {
            What::Whole(snapshot, _) => &snapshot.cpus,
            What::Packed(_, cpus) => cpus,
        }
    }

    /// All of a device; absent where it had not been there, and where less of it was kept.
    fn device(&self, device: &Device) -> Option<&Device> {
        match &self.what {
            What::Whole(snapshot, places) => snapshot.devices.get(*places.get(&key(device))?),
            What::Packed(..) => None,
        }
    }

    /// What a device had done; nothing where it had not been there.
    fn totals(&self, device: &Device) -> Earlier<'_> {
        let found = match &self.what {
            What::Whole(..) => {
                let totals = self.device(device).and_then(|it| it.totals.as_ref());
                totals.map(Earlier::Whole)
            }
            What::Packed(devices, _) => {
                let packed = devices.get(&key(device));
                packed.map(|packed| Earlier::Packed(packed))
            }
        };
        found.unwrap_or(Earlier::Nothing)
    }
}

impl What {
    /// Of devices that did nothing since what was packed before, the same is kept.
    fn packed(snapshot: &Snapshot, before: Option<&Self>) -> Self {
        let known = |device| match before {
            Some(Self::Packed(devices, _)) => devices.get(&key(device)),
            _ => None,
        };
        let devices = snapshot.devices.iter().filter_map(|device| {
            let totals = device.totals.as_ref()?;
            let same = known(device).filter(|packed| packed.is_of(totals));
            let packed = same.map_or_else(|| Arc::new(Packed::new(totals)), Arc::clone);
            Some((key(device), packed))
        });
        Self::Packed(devices.collect(), snapshot.cpus.clone())
    }
}

const fn key(device: &Device) -> Key {
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
