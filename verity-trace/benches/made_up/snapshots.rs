//! Snapshots of machines that nobody has: many devices, many CPUs, and histograms with much in them.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use verity_trace::cost::Cost;
use verity_trace::histogram::{Histogram, Nanos};
use verity_trace::snapshot::{
    Account, Completion, Context, Cpu, Device, DeviceNumber, Era, InFlight, IoClass, Kernel, Kind,
    Placement, PlacementTotals, Rung, Snapshot, Softirq, Stage, Totals, Tracing,
};
use verity_trace::target::Table;
use verity_trace_ebpf::slot;

/// A machine.
#[derive(Clone, Copy, Debug)]
pub struct Made {
    /// Its devices; half of them are images of one kind, and half of another.
    pub devices: usize,
    /// Its CPUs.
    pub cpus: usize,
    /// Where I/Os of each device are verified.
    pub placements: &'static [Placement],
    /// Slots of each histogram in which there is something.
    pub slots: usize,
    /// Snapshots that are taken in a second.
    pub rate: u32,
}

impl Made {
    /// What happens in this machine, each device at work between any two snapshots.
    pub fn snapshots(self) -> impl Iterator<Item = io::Result<Snapshot>> {
        (0..).map(move |number| self.snapshot(number))
    }

    fn snapshot(self, turn: u32) -> io::Result<Snapshot> {
        let since_first = Duration::from_secs(turn.into()) / self.rate;
        let turn = u64::from(turn);
        let devices: io::Result<Vec<_>> = (0..self.devices)
            .map(|number| self.device(number, turn))
            .collect();
        let time = |share: u64| Duration::from_millis((turn + 1) * share);
        let cpus = (0..self.cpus).map(|number| {
            let busy = 20 + number as u64 % 300;
            Cpu {
                number,
                block_softirq: time(busy),
                tasklet_softirq: time(busy * 2),
                softirq: time(busy * 3),
                softirqs: BTreeMap::from([
                    (Softirq::BLOCK, time(busy)),
                    (Softirq::TASKLET, time(busy * 2)),
                ]),
                softirq_verify: Some(time(busy)),
                mapped: turn * 90,
                kverityd_verifications: turn * 40,
                bh_verifications: turn * 50,
                inline_verifications: Some(0),
                queues: None,
            }
        });
        Ok(Snapshot {
            taken_at: Duration::from_secs(1_795_000_000) + since_first,
            watched: Duration::from_secs(1) + since_first,
            interval: None,
            kernel: Kernel {
                release: "7.3.4".to_owned(),
                host: "made-up".to_owned(),
                cpus: self.cpus,
                era: Some(Era::Inline),
            },
            tracing: Tracing::Attached(Rung::Fentry),
            probes: Vec::new(),
            gaps: Vec::new(),
            devices: devices?,
            kernel_names: BTreeMap::new(),
            queued: BTreeMap::new(),
            other: None,
            cpus: cpus.collect(),
            recent_cpus: Vec::new(),
            use_bh_bytes: Some(vec![8_192; 4]),
            account: Some(Account::default()),
            loss: BTreeMap::new(),
            hides_misses: false,
            before_attach: 0,
            hash_cache_unseen: None,
            queues_unseen: None,
            cost: Some(Cost::default()),
            sampling: None,
        })
    }

    fn device(self, number: usize, turn: u64) -> io::Result<Device> {
        let minor = u32::try_from(number).map_err(io::Error::other)?;
        let kind = ["layer", "app"][number % 2];
        let placements = self.placements.iter();
        let placements: BTreeMap<_, _> = placements
            .map(|&placement| (placement, self.totals(number, turn)))
            .collect();
        let mix = placements.iter().flat_map(|(&placement, totals)| {
            (12..20).map(move |bit| {
                let kind = Kind {
                    size: 1 << bit,
                    class: IoClass::BestEffort,
                    placement,
                    reason: None,
                };
                (kind, totals.ios / 8)
            })
        });
        let mix = mix.collect();
        let mut in_flight = InFlight::default();
        in_flight.add(Stage::Device, Duration::from_micros(number as u64 * 7));
        let table = format!(
            "1 254:{minor} 254:{minor} 4096 4096 16384 1 sha256 {} - 1 try_verify_in_tasklet",
            "4fa5d3b7c8e1a296".repeat(4)
        );
        let table = Table::parse(&table);
        Ok(Device {
            name: format!("{kind}-{:032x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            uuid: format!("CRYPT-VERITY-{number:032x}"),
            number: DeviceNumber { major: 253, minor },
            disk_sequence: Some(number as u64),
            table: table.ok_or_else(|| io::Error::other("no table"))?,
            status: None,
            counted_in_other: false,
            totals: Some(Totals {
                placements,
                mix,
                ..Totals::default()
            }),
            recent: None,
            in_flight: Some(in_flight),
            first_failure: None,
            before_attach: None,
            in_flight_before_attach: None,
        })
    }

    fn totals(self, number: usize, turn: u64) -> PlacementTotals {
        let stages = [Stage::Device, Stage::Wait, Stage::Verify, Stage::Total];
        let stages: BTreeMap<_, _> = stages
            .into_iter()
            .map(|stage| (stage, self.histogram(number, turn)))
            .collect();
        let ios = stages[&Stage::Total].count();
        PlacementTotals {
            ios,
            bytes: ios * 4_096,
            failed: 0,
            reasons: BTreeMap::new(),
            completions: BTreeMap::from([(Completion::HardirqOrIrqsOff, ios)]),
            contexts: BTreeMap::from([(Context::Kworker, ios)]),
            stages,
        }
    }

    /// In each turn every fourth slot is hit.
    fn histogram(self, number: usize, turn: u64) -> Histogram {
        let first = slot::slot(1_000);
        let slots = (first..first + self.slots).map(|slot| {
            let turns = 1 + (turn + ((slot + number) % 4) as u64) / 4;
            (slot, turns * (1 + (slot * 7 + number) as u64 % 13))
        });
        let sum = slots
            .clone()
            .fold(0, |sum, (slot, count)| sum + slot::middle_ns(slot) * count);
        Histogram::from_slots(slots, Nanos(sum))
    }
}
