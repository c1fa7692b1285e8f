//! What the live view shows of I/Os one by one, from what the programs send meanwhile.

use std::time::Instant;

use verity_trace::collector::Collector;
use verity_trace::error::Result;
use verity_trace::picked::{KEPT, Name, Pace, Picked, Picker, Seen};
use verity_trace::snapshot::{Era, Snapshot};
use verity_trace_ebpf::record::Record;

/// See the module.
pub struct Looks {
    picker: Picker,
    pace: Pace,
    began: Instant,
    picked_at: Instant,
    asked_at: Instant,
    /// Whether in this interval less than everything was asked for.
    is_thinned: bool,
}

impl Looks {
    /// Nothing seen yet.
    pub fn new(now: Instant) -> Self {
        Self {
            picker: Picker::default(),
            pace: Pace::default(),
            began: now,
            picked_at: now,
            asked_at: now,
            is_thinned: true,
        }
    }

    /// Takes in a record.
    pub fn see(&mut self, record: &Record) {
        self.pace.saw(record.total_ns);
        self.picker.take(record);
    }

    /// Asks for every record while they are recorded, else for as many as can be shown.
    pub fn ask(&mut self, collector: &mut Collector, is_recorded: bool) -> Result<()> {
        let now = Instant::now();
        if is_recorded {
            collector.send_records()?;
            self.pace.forget();
        } else {
            collector.ask(&mut self.pace, now.duration_since(self.asked_at))?;
            self.is_thinned = true;
        }
        self.asked_at = now;
        Ok(())
    }

    /// What is to be seen of the interval that ends with a snapshot.
    pub fn pick(&mut self, collector: &Collector, snapshot: &Snapshot) -> Result<Picked> {
        let now = Instant::now();
        let in_flight = collector.oldest(KEPT)?;
        let era = snapshot.kernel.era.unwrap_or(Era::NoOption);
        let (slowest, recent, has_undecoded) = self.picker.pick(era);
        let seen = self.pace.seen();
        let seen = if std::mem::take(&mut self.is_thinned) {
            seen
        } else {
            Seen::EVERYTHING
        };
        let since = |at: Instant| at.duration_since(self.began);
        let span = since(self.picked_at)..since(now);
        self.picked_at = now;
        Ok(Picked {
            slowest,
            recent,
            seen: in_flight.is_some().then_some(seen),
            in_flight,
            has_undecoded,
            span,
            devices: snapshot.devices.iter().map(Name::from).collect(),
        })
    }
}
