//! What tracing costs everybody else on this machine, by its own clock: `cargo xtask bench --native`.
//!
//! A load on this machine passes the tracepoints of softirqs and of works that are not dm-verity's,
//! first with programs there that only return and then with verity-trace's, round by round. The kernel's
//! statistics say how much longer ours take; what it costs to call one that only returns is calibrated
//! as verity-trace itself does it, with hot caches, which makes the ratios rather too high. A loop timed
//! with and without programs would tell nothing: where others use the machine too, it differs by more than
//! they take.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use aya::EbpfLoader;
use aya_obj::generated::bpf_attach_type::BPF_TRACE_RAW_TP;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use verity_trace::cost::Attachment;
use verity_trace::kernel::{self, Symbols, Types};
use verity_trace::live::object::with_settings;
use verity_trace::live::programs::{load_tracing, relocated};
use verity_trace::live::{self, OBJECT, bpf, calibrate};
use verity_trace::plan::{self, Refusals};
use verity_trace_ebpf::settings::Settings;

/// How often each case is measured.
const ROUNDS: usize = 15;

/// How many softirqs or works a measurement makes.
const EVENTS: usize = 20_000;

/// An address at which there is no function, so that no work is dm-verity's.
const NOWHERE: u64 = 1;

/// A program, and the tracepoint that it attaches to.
type Probe = (&'static str, &'static str);

const SOFTIRQ: [Probe; 2] = [
    ("softirq_entry", "softirq_entry"),
    ("softirq_exit", "softirq_exit"),
];
const QUEUES_SOFTIRQ: [Probe; 4] = [
    SOFTIRQ[0],
    SOFTIRQ[1],
    ("queues_softirq_exit", "softirq_exit"),
    ("queues_softirq_entry", "softirq_entry"),
];
const QUEUES_WORK: [Probe; 2] = [
    ("queues_execute_end", "workqueue_execute_end"),
    ("queues_execute_start", "workqueue_execute_start"),
];
const KPROBE_WORK: [Probe; 1] = [("workqueue_queue_work", "workqueue_queue_work")];
const TRACEPOINT_WORK: [Probe; 3] = [
    ("verification_begins", "workqueue_execute_start"),
    ("verification_begins_second", "workqueue_execute_start"),
    ("verification_queued", "workqueue_queue_work"),
];

fn main() -> ExitCode {
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure() -> Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "BPF programs are measured; run as root"
    );
    live::built()?;
    let machine = Machine::new()?;
    let softirqs = Softirqs::new()?;
    let mut works = Works::new()?;
    println!(
        "nanoseconds that tracing adds to what is not dm-verity's, medians of {ROUNDS} rounds, on Linux {}\n\
         {:<43}{:>11}{:>14}{:>8}   half of the rounds",
        kernel::machine().release,
        "and by programs that only return",
        "only return",
        "verity-trace",
        "ratio",
    );
    let softirq = |name, probes: &[_]| machine.row(name, probes, || softirqs.make());
    softirq("softirq, verity-trace", &SOFTIRQ)?;
    softirq("softirq, verity-trace --queues", &QUEUES_SOFTIRQ)?;
    let mut work = |name, probes: &[_]| machine.row(name, probes, || works.make());
    work("work item, verity-trace --queues", &QUEUES_WORK)?;
    work("work item, verity-trace --attach kprobe", &KPROBE_WORK)?;
    work(
        "work item, verity-trace --attach tracepoint",
        &TRACEPOINT_WORK,
    )
}

/// What is the same for every case.
struct Machine {
    types: Types,
    settings: Settings,
}

/// Nanoseconds of one round.
struct Round {
    /// Programs that only return, one for each tracepoint.
    empty: f64,
    /// verity-trace's.
    traced: f64,
}

impl Machine {
    fn new() -> Result<Self> {
        let types = Types::read()?;
        let facts = kernel::facts(&types, &Symbols::read()?)?;
        let plan = plan::plan(&facts, None, &Refusals::default());
        let settings = Settings {
            verity_work: NOWHERE,
            verity_bh_work: NOWHERE,
            can_be_inline: 1,
            sees_queues: 1,
            ..plan::settings::settings(&facts, &plan)
        };
        Ok(Self { types, settings })
    }

    /// Measures and prints a case.
    fn row(
        &self,
        name: &str,
        probes: &[Probe],
        mut load: impl FnMut() -> Result<()>,
    ) -> Result<()> {
        let rounds = (0..ROUNDS).map(|_| self.round(probes, &mut load));
        let rounds = rounds
            .collect::<Result<Vec<_>>>()
            .context(name.to_owned())?;
        let sorted = |value: fn(&Round) -> f64| {
            let mut values: Vec<_> = rounds.iter().map(value).collect();
            values.sort_by(f64::total_cmp);
            values
        };
        let ratios = sorted(|it| it.traced / it.empty);
        println!(
            "{name:<43}{:>11.0}{:>14.0}{:>8.2}   {:.2} to {:.2}",
            sorted(|it| it.empty)[ROUNDS / 2],
            sorted(|it| it.traced)[ROUNDS / 2],
            ratios[ROUNDS / 2],
            ratios[ROUNDS / 4],
            ratios[ROUNDS - 1 - ROUNDS / 4],
        );
        Ok(())
    }

    /// The same load with programs that only return and with verity-trace's.
    fn round(&self, probes: &[Probe], load: &mut impl FnMut() -> Result<()>) -> Result<Round> {
        // Whatever else the CPU does can hide it.
        let dispatch = (0..ROUNDS)
            .find_map(|_| {
                let calibration = calibrate::calibrate(&self.types);
                calibration.dispatch_ns.get(&Attachment::TpBtf).copied()
            })
            .context("what it costs to call a program does not stand out here")?
            as f64;
        let counted = self.empties(probes, load)?;
        let own: f64 = std::iter::zip(self.traced(probes, load)?, counted)
            .map(|(traced, empty)| traced - empty)
            .sum();
        let mut tracepoints: Vec<_> = probes.iter().map(|(_, tracepoint)| tracepoint).collect();
        tracepoints.sort_unstable();
        tracepoints.dedup();
        Ok(Round {
            empty: dispatch * tracepoints.len() as f64,
            traced: dispatch * probes.len() as f64 + own,
        })
    }

    /// What the statistics say of one run of each, with programs that only return.
    fn empties(&self, probes: &[Probe], load: &mut impl FnMut() -> Result<()>) -> Result<Vec<f64>> {
        let mut attached = Vec::new();
        for (_, tracepoint) in probes {
            let id = self.tracepoint(tracepoint)?;
            let program = calibrate::empty(BPF_TRACE_RAW_TP, id, None)?;
            attached.push((bpf::attach(program.as_fd())?, program));
        }
        counted(load)?;
        attached.iter().map(|(_, program)| each(program)).collect()
    }

    /// The same with verity-trace's.
    fn traced(&self, probes: &[Probe], load: &mut impl FnMut() -> Result<()>) -> Result<Vec<f64>> {
        let bytes = with_settings(OBJECT, self.settings)?;
        let ebpf = EbpfLoader::new().btf(None).load(&bytes)?;
        let object = relocated(&ebpf, &bytes, &self.types)?;
        let mut attached = Vec::new();
        for (name, tracepoint) in probes {
            let id = self.tracepoint(tracepoint)?;
            let program = load_tracing(&object, name, BPF_TRACE_RAW_TP, id, None)??;
            attached.push((bpf::attach(program.as_fd())?, program));
        }
        counted(load)?;
        attached.iter().map(|(_, program)| each(program)).collect()
    }

    fn tracepoint(&self, name: &str) -> Result<u32> {
        let id = self.types.tracepoint(name);
        id.with_context(|| format!("the kernel has no {name}"))
    }
}

/// Makes the load while the kernel counts, which nobody's programs pay for afterwards.
fn counted(load: &mut impl FnMut() -> Result<()>) -> Result<()> {
    let _on = bpf::enable_statistics().context("turn the kernel's statistics on")?;
    load()
}

fn each(program: &impl AsFd) -> Result<f64> {
    let (runs, ns) = bpf::runs(program.as_fd())?;
    ensure!(runs >= EVENTS as u64, "{runs} runs for {EVENTS} events");
    Ok(ns as f64 / runs as f64)
}

/// A datagram to oneself is a softirq, the one that receives it.
struct Softirqs(UdpSocket);

impl Softirqs {
    fn new() -> Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.connect(socket.local_addr()?)?;
        Ok(Self(socket))
    }

    fn make(&self) -> Result<()> {
        for _ in 0..EVENTS {
            self.0.send(&[0])?;
            self.0.recv(&mut [0])?;
        }
        Ok(())
    }
}

/// A byte that is typed into a terminal is a work, the one that hands it on.
struct Works {
    keyboard: File,
    reader: File,
}

impl Works {
    fn new() -> Result<Self> {
        let keyboard =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).context("open a terminal")?;
        grantpt(&keyboard)?;
        unlockpt(&keyboard)?;
        let name = ptsname(&keyboard, Vec::new())?.into_string()?;
        let reader = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NOCTTY)
            .open(name)?;
        // Not by lines, and without an echo.
        let mut mode = tcgetattr(&reader)?;
        mode.make_raw();
        tcsetattr(&reader, OptionalActions::Now, &mode)?;
        Ok(Self {
            keyboard: File::from(keyboard),
            reader,
        })
    }

    fn make(&mut self) -> Result<()> {
        for _ in 0..EVENTS {
            self.keyboard.write_all(b"a")?;
            self.reader.read_exact(&mut [0])?;
        }
        Ok(())
    }
}
