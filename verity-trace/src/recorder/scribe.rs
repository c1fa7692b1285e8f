//! The thread that writes: what it is told becomes blocks, and these go where the recording goes.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use verity_trace_ebpf::record::Record;

use super::backlog::Backlog;
use super::target::{Target, Written};
use crate::dm::VerityDevice;
use crate::export::{Document, Entry};
use crate::inventory;
use crate::recording::{Devices, Encoder, End, Ended, Kept, MAX_RECORDS, Parameters, Picture};
use crate::snapshot::{Era, Snapshot};

/// What it can be told.
pub enum Order {
    /// These I/Os finished.
    Records(Vec<Record>, Option<Era>),
    /// From this moment on these are the devices.
    Devices(u64, Vec<VerityDevice>, Option<Era>),
    /// These are the limits.
    Parameters(Parameters),
    /// This is what was counted until then.
    Picture(u64, Kept, Box<Snapshot>),
    /// Write what the ring holds.
    Dump(u64, Kept),
    /// Nothing more comes.
    End(End),
}

/// See the module.
pub struct Scribe {
    encoder: Encoder,
    target: Target,
    records: Vec<Record>,
    era: Option<Era>,
    backlog: Arc<Backlog>,
}

impl Scribe {
    pub fn new(target: Target, backlog: Arc<Backlog>) -> io::Result<Self> {
        Ok(Self {
            encoder: Encoder::new(matches!(target, Target::Ring(_)))?,
            target,
            records: Vec::with_capacity(MAX_RECORDS),
            era: None,
            backlog,
        })
    }

    /// Carries out every order. Where the file takes no more, what is in it stays.
    pub fn run(mut self, orders: &Receiver<Order>) -> io::Result<Written> {
        let written = self.carry_out_all(orders);
        if written.is_err() {
            // Where that fails too it is known how much is certain.
            let _ = self.target.sync();
        }
        written
    }

    fn carry_out_all(&mut self, orders: &Receiver<Order>) -> io::Result<Written> {
        for order in orders {
            if let Order::End(end) = order {
                self.flush()?;
                let kept = end.kept;
                let frame = self.encoder.end(&end)?;
                return self.target.end(&frame, kept);
            }
            self.carry_out(order)?;
        }
        // Whoever records has failed: without an end it looks like a recording that was cut.
        self.flush()?;
        self.target.sync()?;
        Ok(Written::default())
    }

    fn carry_out(&mut self, order: Order) -> io::Result<()> {
        match order {
            Order::Records(batch, era) => {
                self.era = era;
                self.backlog.waiting().records -= batch.len();
                let mut rest = &batch[..];
                while !rest.is_empty() {
                    let room = MAX_RECORDS - self.records.len();
                    let (taken, left) = rest.split_at(room.min(rest.len()));
                    self.records.extend(taken);
                    rest = left;
                    if self.records.len() == MAX_RECORDS {
                        self.flush()?;
                    }
                }
                Ok(())
            }
            Order::Devices(monotonic_ns, devices, era) => {
                self.flush()?;
                let kernel_names = inventory::kernel_names(&devices);
                let devices = devices.iter();
                let frame = self.encoder.devices(&Devices {
                    monotonic_ns,
                    devices: devices
                        .map(|it| Entry::new(it, &kernel_names, era))
                        .collect(),
                })?;
                self.target.add(frame)
            }
            Order::Parameters(parameters) => {
                self.flush()?;
                let frame = self.encoder.parameters(&parameters)?;
                self.target.add(frame)
            }
            Order::Picture(monotonic_ns, kept, snapshot) => {
                self.flush()?;
                let frame = self.encoder.picture(&Picture {
                    monotonic_ns,
                    kept,
                    document: Document::new(&snapshot, None),
                })?;
                self.target.add(frame)?;
                self.backlog.waiting().pictures -= 1;
                Ok(())
            }
            Order::Dump(monotonic_ns, kept) => {
                self.flush()?;
                let end = End {
                    monotonic_ns,
                    kept,
                    ended: Ended::Ring,
                };
                let frame = self.encoder.end(&end)?;
                self.target.dump(&frame);
                Ok(())
            }
            Order::End(_) => Ok(()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.records.is_empty() {
            return Ok(());
        }
        let frame = self.encoder.ios(&self.records, self.era)?;
        self.records.clear();
        self.target.add(frame)
    }
}
