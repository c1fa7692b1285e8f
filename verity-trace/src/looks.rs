//! What the live view shows of I/Os one by one, from what the programs send meanwhile.

use std::time::Instant;

use verity_trace::collector::Collector;
use verity_trace::error::Result;
use verity_trace::picked::{self, Name, Pace, Picked, Picker, Seen, StillInFlight};
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
        let of_each = picked::of_each(snapshot.devices.len());
        let in_flight = collector.unfinished()?;
        let in_flight = in_flight.map(|all| StillInFlight::of(all, of_each));
        let era = snapshot.kernel.era.unwrap_or(Era::NoOption);
        let picking = self.picker.pick(era, of_each);
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
            slowest: picking.slowest,
            recent: picking.recent,
            of_each,
            seen: in_flight.is_some().then_some(seen),
            in_flight,
            has_undecoded: picking.has_undecoded,
            span,
            devices: Name::of_all(&snapshot.devices),
        })
    }
}
