//! The kernel's statistics of the programs, in short windows: while they are on, every run of every BPF
//! program on the machine reads the clock twice.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use crate::cost::{Attachment, Calibration, Cost, ProgramRuns};
use crate::live::bpf;

/// For how long they are on, unless whoever ends a window comes later.
const WINDOW: Duration = Duration::from_millis(200);

/// From the beginning of one window to that of the next.
const PERIOD: Duration = Duration::from_secs(2);

/// A program that is attached.
pub struct Program<'a> {
    /// Name.
    pub name: &'static str,
    /// How it is run.
    pub attachment: Attachment,
    /// The program.
    pub fd: BorrowedFd<'a>,
}

/// What was counted in all windows, and the one that is open.
pub struct Statistics {
    window: Option<Window>,
    began: Option<Instant>,
    total: Cost,
}

struct Window {
    /// Turns the statistics off when closed.
    _on: OwnedFd,
    began: Instant,
    before: Vec<ProgramRuns>,
}

impl Statistics {
    /// Nothing counted yet.
    pub fn new(calibration: Calibration) -> Self {
        Self {
            window: None,
            began: None,
            total: Cost {
                calibration,
                ..Cost::default()
            },
        }
    }

    /// Begins and ends windows; returns what one counted that has ended.
    pub fn tick(&mut self, programs: &[Program<'_>], now: Instant) -> io::Result<Option<Cost>> {
        let is_due = |since: Option<Instant>, after| {
            since.is_none_or(|since| now.duration_since(since) >= after)
        };
        if self.window.is_none() {
            if is_due(self.began, PERIOD) {
                self.began = Some(now);
                let before = read(programs)?;
                // Where the kernel refuses, the cost stays unknown.
                self.window = bpf::enable_statistics().ok().map(|on| Window {
                    _on: on,
                    began: Instant::now(),
                    before,
                });
            }
        } else if is_due(self.began, WINDOW) {
            let counted = self.counted(programs)?;
            self.window = None;
            self.total.add(&counted);
            return Ok(Some(counted));
        }
        Ok(None)
    }

    /// What was counted so far, in the window that is open too.
    pub fn cost(&self, programs: &[Program<'_>]) -> io::Result<Cost> {
        let mut cost = self.total.clone();
        cost.add(&self.counted(programs)?);
        Ok(cost)
    }

    /// What the open window has counted.
    fn counted(&self, programs: &[Program<'_>]) -> io::Result<Cost> {
        let Some(window) = &self.window else {
            return Ok(Cost::default());
        };
        let mut counted = read(programs)?;
        let measured = window.began.elapsed();
        for now in &mut counted {
            // One that was attached meanwhile began with nothing.
            if let Some(before) = window.before.iter().find(|it| it.name == now.name) {
                now.runs = now.runs.saturating_sub(before.runs);
                now.run_ns = now.run_ns.saturating_sub(before.run_ns);
            }
        }
        Ok(Cost {
            measured,
            programs: counted,
            calibration: self.total.calibration.clone(),
            ..Cost::default()
        })
    }
}

fn read(programs: &[Program<'_>]) -> io::Result<Vec<ProgramRuns>> {
    let program = |it: &Program<'_>| {
        let (runs, run_ns) = bpf::runs(it.fd)?;
        Ok(ProgramRuns {
            name: it.name,
            attachment: it.attachment,
            runs,
            run_ns,
        })
    };
    programs.iter().map(program).collect()
}
