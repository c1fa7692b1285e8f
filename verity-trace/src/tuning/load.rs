//! A load of our own: random direct reads, for a device that has none.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};

use anyhow::Context as _;
use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64Mcg;
use verity_trace::error::Result;
use verity_trace::snapshot::DeviceNumber;
use verity_trace::tune::Load;

/// Reads in flight, each in a thread of its own.
const DEPTH: u32 = 4;

/// Direct reads go to memory that begins at a multiple of this; no disk wants more than a page.
const ALIGNMENT: usize = 4096;

/// The threads that read, until it is dropped.
pub struct Reading {
    ends: Arc<AtomicBool>,
    failures: Receiver<io::Error>,
    threads: Vec<JoinHandle<()>>,
}

/// What it will be, for a device with blocks of so many bytes.
pub const fn of(block_bytes: u32) -> Load {
    Load {
        bytes: block_bytes,
        depth: DEPTH,
    }
}

impl Reading {
    /// Begins to read.
    pub fn start(number: DeviceNumber, blocks: u64, load: Load, seed: u64) -> Result<Self> {
        let path = format!("/dev/dm-{}", number.minor);
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(libc::O_DIRECT);
        let file = options
            .open(&path)
            .with_context(|| format!("open {path}"))?;
        let file = Arc::new(file);
        let ends = Arc::new(AtomicBool::new(false));
        let (sender, failures) = mpsc::channel();
        let threads = (0..load.depth).map(|thread| {
            let (file, ends, sender) = (file.clone(), ends.clone(), sender.clone());
            let random = Pcg64Mcg::seed_from_u64(seed.wrapping_add(thread.into()));
            thread::spawn(move || {
                if let Err(error) = read(&file, blocks, load.bytes, random, &ends) {
                    // Whoever does not listen any more has ended already.
                    let _ = sender.send(error);
                }
            })
        });
        Ok(Self {
            threads: threads.collect(),
            ends,
            failures,
        })
    }

    /// What went wrong, if something did.
    pub fn failure(&self) -> Option<io::Error> {
        self.failures.try_recv().ok()
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // One that panicked reads nothing either.
            let _ = thread.join();
        }
    }
}

fn read(
    file: &File,
    blocks: u64,
    bytes: u32,
    mut random: Pcg64Mcg,
    ends: &AtomicBool,
) -> io::Result<()> {
    let bytes = bytes as usize;
    let mut memory = vec![0; bytes + ALIGNMENT];
    let start = memory.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
    let memory = &mut memory[start..start + bytes];
    while !ends.load(Ordering::Relaxed) {
        let block = random.random_range(0..blocks.max(1));
        file.read_exact_at(memory, block * bytes as u64)?;
    }
    Ok(())
}
