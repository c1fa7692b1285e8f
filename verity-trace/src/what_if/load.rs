//! The load: what the model needs of each I/O, within a memory that has a limit.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use verity_trace_ebpf::counters::CLASS_SHIFT;
use verity_trace_ebpf::placement::Stage;

use super::{Facts, Setting};
use crate::decode::Io;
use crate::histogram::Nanos;
use crate::snapshot::{Completion, Context, DeviceNumber, Era, Placement, Reason};

/// I/Os that are kept. Beyond it every other window is left out, as often as it takes: 64 bytes each make 128 MB.
const MAX_IOS: usize = 2_000_000;
/// No time is later than 146 years after booting, in nanoseconds: what is, is damage. A stage of 18 minutes hangs, which no placement is the
/// reason of. Of as many I/Os as are kept the sum of all is a number then.
const LATEST: u64 = 1 << 62;
const LONGEST: u64 = 1 << 40;
/// I/Os in a window, in the order in which they finish: many times more than are in flight at once.
const WINDOW: usize = 8_192;

/// How the verification of an I/O went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// On kverityd at once.
    Kverityd,
    /// In BH or in a tasklet.
    Softirq,
    /// By the completion itself.
    Inline,
    /// An attempt in BH or in a tasklet gave up.
    SoftirqGaveUp,
    /// One by the completion itself did.
    InlineGaveUp,
}

impl Seen {
    /// Whether an attempt gave up.
    pub const fn gave_up(self) -> bool {
        matches!(self, Self::SoftirqGaveUp | Self::InlineGaveUp)
    }
}

/// What is kept of an I/O. Times are in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Arrival {
    pub mapped_at: u64,
    pub device: u64,
    pub wait: u64,
    pub verify: u64,
    /// 0 where none gave up.
    pub attempt: u32,
    /// The same.
    pub retry_wait: u32,
    pub bytes: u32,
    pub submitter: u32,
    pub submit_cpu: u16,
    pub complete_cpu: u16,
    pub verify_cpu: u16,
    /// The ioprio's.
    pub class: u8,
    pub seen: Seen,
    pub completion: Completion,
    /// Whether its device had the option.
    pub option: bool,
    /// Whether the device is the one that the forecast is for.
    pub is_ours: bool,
    /// Whether the CPU had another task to run.
    pub gave_way: bool,
    /// In which context the (first) verification was.
    pub context: Option<Context>,
}

impl Arrival {
    /// When its data device completed it.
    pub const fn completed_at(&self) -> u64 {
        self.mapped_at.saturating_add(self.device)
    }

    /// All of its life.
    pub const fn total(&self) -> u64 {
        self.device
            .saturating_add(self.wait)
            .saturating_add(self.attempt as u64)
            .saturating_add(self.retry_wait as u64)
            .saturating_add(self.verify)
    }

    /// Whether the (first) verification was in a softirq.
    pub const fn in_softirq(&self) -> bool {
        matches!(self.context, Some(Context::Softirq | Context::Ksoftirqd))
    }

    /// Whether a task completed it and BH verified it before ksoftirqd had the CPU. That is when kverityd, which prefetches, lets go of
    /// the lock of the cache (`dm_bufio_unlock`, drivers/md/dm-bufio.c: `spin_unlock_bh` where a client may not sleep).
    pub fn in_prefetch(&self) -> bool {
        self.completion == Completion::Task
            && self.seen == Seen::Softirq
            && self.context == Some(Context::Softirq)
    }

    /// When it finished.
    pub const fn finished_at(&self) -> u64 {
        self.mapped_at.saturating_add(self.total())
    }
}

/// Which part of the load is replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Of so many windows of I/Os one is.
    pub one_in: u64,
    /// I/Os in a window, in the order in which they finished.
    pub window: usize,
}

/// Gathers a load.
#[derive(Clone, Debug)]
pub struct LoadBuilder {
    load: Load,
    /// I/Os until now, kept or not.
    seen: u64,
    most: usize,
    /// What was mapped before was under another setting.
    since: Nanos,
}

impl LoadBuilder {
    /// For the I/Os of this device under this setting, and of others that share CPUs with it.
    #[must_use]
    pub const fn new(device: DeviceNumber, recorded: Setting) -> Self {
        Self {
            load: Load {
                device,
                recorded,
                one_in: 1,
                arrivals: Vec::new(),
                windows: Vec::new(),
                keeps: 1,
                unseen: 0,
                unverified: 0,
                earlier: 0,
            },
            seen: 0,
            most: MAX_IOS,
            since: Nanos(0),
        }
    }

    /// The same where only one in so many I/Os has a record, chosen by chance.
    #[must_use]
    pub const fn sampled(mut self, one_in: u64) -> Self {
        self.load.one_in = one_in;
        self
    }

    /// Leaves out all I/Os that were mapped before this moment, on `CLOCK_MONOTONIC`: the setting changed then.
    pub fn begin_anew(&mut self, since: Nanos) {
        let load = &mut self.load;
        let dropped = load.ios() * load.keeps + load.unseen + load.unverified;
        let earlier = load.earlier + dropped;
        *load = Load {
            earlier,
            ..Self::new(load.device, load.recorded)
                .sampled(load.one_in)
                .load
        };
        self.seen = 0;
        self.since = since;
    }

    /// One more I/O, in the order of their ends.
    pub fn add(&mut self, io: &Io) {
        let is_ours = io.device == self.load.device;
        if io.mapped_at < self.since {
            self.load.earlier += u64::from(is_ours);
            return;
        }
        if io.placement == Placement::None {
            self.load.unverified += u64::from(is_ours);
            return;
        }
        let Some(arrival) = arrival(io, is_ours, &self.load.recorded) else {
            self.load.unseen += u64::from(is_ours);
            return;
        };
        let window = self.seen / WINDOW as u64;
        let is_first = self.seen.is_multiple_of(WINDOW as u64);
        self.seen += 1;
        if !window.is_multiple_of(self.load.keeps) {
            return;
        }
        if is_first {
            self.load.windows.push(self.load.arrivals.len());
        }
        self.load.arrivals.push(arrival);
        if self.load.arrivals.len() > self.most {
            self.thin();
        }
    }

    /// The load.
    #[must_use]
    pub fn build(mut self) -> Load {
        let load = &mut self.load;
        if load.keeps == 1 {
            load.windows.truncate(1);
        }
        let ends = load.windows.iter().skip(1).copied();
        let ends: Vec<_> = ends.chain([load.arrivals.len()]).collect();
        for (&start, &end) in load.windows.iter().zip(&ends) {
            load.arrivals[start..end].sort_by_key(|it| it.mapped_at);
        }
        self.load
    }

    /// Leaves every other window out.
    fn thin(&mut self) {
        let load = &mut self.load;
        load.keeps *= 2;
        let mut windows = Vec::new();
        let mut length = 0;
        for (number, &start) in load.windows.iter().enumerate() {
            if number % 2 == 1 {
                continue;
            }
            let end = load.windows.get(number + 1).copied();
            let end = end.unwrap_or(load.arrivals.len());
            windows.push(length);
            load.arrivals.copy_within(start..end, length);
            length += end - start;
        }
        load.arrivals.truncate(length);
        load.windows = windows;
    }
}

/// What is known of the I/Os of one device, and of others that share CPUs with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Load {
    device: DeviceNumber,
    recorded: Setting,
    one_in: u64,
    arrivals: Vec<Arrival>,
    /// Where each window begins.
    windows: Vec<usize>,
    /// Of so many windows one is kept.
    keeps: u64,
    unseen: u64,
    unverified: u64,
    earlier: u64,
}

impl Load {
    /// The load of these I/Os, in the order of their ends.
    pub fn new<'a>(
        device: DeviceNumber,
        recorded: Setting,
        ios: impl IntoIterator<Item = &'a Io>,
    ) -> Self {
        let mut builder = LoadBuilder::new(device, recorded);
        for io in ios {
            builder.add(io);
        }
        builder.build()
    }

    /// The device that the forecast is for.
    #[must_use]
    pub const fn device(&self) -> DeviceNumber {
        self.device
    }

    /// The setting under which it was recorded.
    #[must_use]
    pub const fn recorded(&self) -> Setting {
        self.recorded
    }

    /// How many I/Os of the device are replayed.
    #[must_use]
    pub fn ios(&self) -> u64 {
        self.ours().count() as u64
    }

    /// I/Os of the device that finished without verification, which no setting changes.
    #[must_use]
    pub const fn unverified(&self) -> u64 {
        self.unverified
    }

    /// Which part is replayed; absent when all of it is.
    #[must_use]
    pub fn kept(&self) -> Option<Kept> {
        (self.keeps > 1).then_some(Kept {
            one_in: self.keeps,
            window: WINDOW,
        })
    }

    /// The settings that are worth a look: the option off; on, as the limits were; and on with the limit of all
    /// classes but idle at each power of two that I/Os of this load need to be within it.
    #[must_use]
    pub fn settings(&self, facts: &Facts) -> Vec<Setting> {
        let limits = self.recorded.use_bh_bytes;
        let setting = |option, use_bh_bytes| Setting {
            option,
            use_bh_bytes,
        };
        let mut settings = vec![setting(false, limits), setting(true, limits)];
        if let Some([.., idle]) = limits.filter(|_| facts.era == Era::Inline) {
            let sizes: BTreeSet<_> = self
                .ours()
                .map(|it| u64::from(it.bytes).next_power_of_two())
                .collect();
            let swept = sizes
                .into_iter()
                .map(|size| setting(true, Some([size, size, size, idle])));
            settings.extend(swept.filter(|it| it.use_bh_bytes != limits));
        }
        settings
    }

    /// The bytes of the device's I/Os, and how many there are of each.
    #[must_use]
    pub fn sizes(&self) -> BTreeMap<u32, u64> {
        let mut sizes = BTreeMap::new();
        for arrival in self.ours() {
            *sizes.entry(arrival.bytes).or_default() += 1;
        }
        sizes
    }

    /// From when the first I/O was mapped to when the last one finished.
    #[must_use]
    pub fn duration(&self) -> Nanos {
        let first = self.arrivals.iter().map(|it| it.mapped_at).min();
        let last = self.arrivals.iter().map(Arrival::finished_at).max();
        Nanos(last.unwrap_or(0).saturating_sub(first.unwrap_or(0)))
    }

    /// I/Os of the device whose placement the recorded setting cannot be the reason of.
    pub(super) fn under_another_setting(&self, facts: &Facts) -> u64 {
        let differs = |it: &&Arrival| {
            let attempts = facts.attempts(&self.recorded, it.bytes, it.class);
            match it.seen {
                Seen::Kverityd => attempts && !it.gave_way,
                _ => !attempts,
            }
        };
        self.ours().filter(differs).count() as u64
    }

    /// I/Os of the device that were not seen whole, or not verified as they should have been.
    pub(super) const fn unseen(&self) -> u64 {
        self.unseen
    }

    /// I/Os of the device from before its setting changed last, about so many where only a part was kept.
    pub(super) const fn earlier(&self) -> u64 {
        self.earlier
    }

    /// In a thousand I/Os of the device, those that were mapped on a CPU while the I/O before it there, of another process,
    /// was in flight.
    pub(super) fn interleaved(&self) -> u64 {
        let mut interleaved = 0;
        for span in self.spans() {
            let mut last: HashMap<u16, (u32, u64)> = HashMap::new();
            for io in span {
                let before = last.insert(io.submit_cpu, (io.submitter, io.finished_at()));
                let is_by_turns = before.is_some_and(|(submitter, until)| {
                    submitter != io.submitter && until > io.mapped_at
                });
                interleaved += u64::from(io.is_ours && is_by_turns);
            }
        }
        1_000 * interleaved / self.ios().max(1)
    }

    /// See [`LoadBuilder::sampled`].
    pub(super) const fn one_in(&self) -> u64 {
        self.one_in
    }

    /// Stretches of time without a gap, each in the order in which the I/Os were mapped.
    pub(super) fn spans(&self) -> impl Iterator<Item = &[Arrival]> {
        self.windows.iter().enumerate().map(|(at, &start)| {
            let end = self.windows.get(at + 1).copied();
            &self.arrivals[start..end.unwrap_or(self.arrivals.len())]
        })
    }

    fn ours(&self) -> impl Iterator<Item = &Arrival> {
        self.arrivals.iter().filter(|it| it.is_ours)
    }
}

/// What is kept of an I/O; absent when it was not seen whole, or is of the kind that no setting is chosen for.
fn arrival(io: &Io, is_ours: bool, recorded: &Setting) -> Option<Arrival> {
    let stage = |stage| io.stages.get(&stage).map(|&Nanos(ns)| ns);
    if io.incomplete || io.clock || io.status != 0 || io.rechecked || io.fec {
        return None;
    }
    let verify = stage(Stage::Verify)?;
    let seen = match (io.placement, io.attempt) {
        (Placement::Kverityd, _) => Seen::Kverityd,
        (Placement::Bh | Placement::Tasklet, _) => Seen::Softirq,
        (Placement::Inline, _) => Seen::Inline,
        (Placement::Fallback, Some(Placement::Inline)) => Seen::InlineGaveUp,
        (Placement::Fallback, Some(_)) => Seen::SoftirqGaveUp,
        (Placement::Fallback, None) | (Placement::None, _) => return None,
    };
    let short = |it| u32::try_from(stage(it).unwrap_or(0)).unwrap_or(u32::MAX);
    let context = if seen.gave_up() {
        io.attempt_context
    } else {
        io.context
    };
    let is_possible = io.mapped_at.0 < LATEST && io.stages.values().all(|it| it.0 < LONGEST);
    if !is_possible {
        return None;
    }
    let complete_cpu = io.complete_cpu.or(io.verify_cpu).unwrap_or(io.submit_cpu);
    Some(Arrival {
        mapped_at: io.mapped_at.0,
        device: stage(Stage::Device)?,
        wait: stage(Stage::Wait)?,
        verify,
        attempt: short(Stage::Attempt),
        retry_wait: short(Stage::RetryWait),
        bytes: io.bytes,
        submitter: io.submitter,
        submit_cpu: io.submit_cpu,
        complete_cpu,
        verify_cpu: io.verify_cpu.unwrap_or(complete_cpu),
        class: u8::try_from(io.ioprio >> CLASS_SHIFT).unwrap_or(u8::MAX),
        seen,
        completion: io.completion,
        option: if is_ours {
            recorded.option
        } else {
            io.reason != Some(Reason::OptionOff)
        },
        is_ours,
        gave_way: io.reason == Some(Reason::NeedResched),
        context,
    })
}
