//! The end of a recording: what waits is still written, unless the disk is stuck and somebody does not
//! want to wait for it. What is to be said of a file that is not whole is here too.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use signal_hook::consts::SIGUSR1;
use verity_trace::format;
use verity_trace::recorder::{Ending, Reach, Reached};

use super::command::{Event, Running};

/// How often it is looked whether everything is written.
const POLL: Duration = Duration::from_millis(10);
/// Whoever waits for longer is told for what.
pub const SLOW: Duration = Duration::from_secs(2);

/// Takes in what came before the wait. Signals asked for the end that is being made: one that a key sends reaches
/// the command too, whose end may be seen first, and timeout(1) sends one to the process and to its group.
pub fn settle(events: &Receiver<Event>, mut command: Option<&mut Running>) {
    while let Ok(event) = events.try_recv() {
        if let Some(command) = &mut command {
            match event {
                Event::Signal(signal) => command.pass_on(signal),
                Event::Ended(status) => command.note(status),
            }
        }
    }
}

/// Waits until everything is written or could not be, or until a signal asks not to wait for it: that signal.
/// Of a wait that takes long, `is_slow` is called once.
pub fn wait(
    ending: &Ending,
    events: &Receiver<Event>,
    mut command: Option<&mut Running>,
    is_slow: impl FnOnce(),
) -> Option<i32> {
    let slow = Instant::now() + SLOW;
    let mut is_slow = Some(is_slow);
    while !ending.is_over() {
        match events.recv_timeout(POLL) {
            // Nothing is recorded any more that a ring could be asked for.
            Ok(Event::Signal(SIGUSR1)) | Err(RecvTimeoutError::Timeout) => {}
            Ok(Event::Signal(signal)) => {
                if let Some(command) = command {
                    command.pass_on(signal);
                }
                return Some(signal);
            }
            Ok(Event::Ended(status)) => {
                if let Some(command) = &mut command {
                    command.note(status);
                }
            }
            Err(RecvTimeoutError::Disconnected) => return None,
        }
        if Instant::now() >= slow
            && let Some(is_slow) = is_slow.take()
        {
            is_slow();
        }
    }
    None
}

/// The name of a file before which so many were begun: the first has the name that was asked for.
pub fn numbered(path: &Path, before: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    if before > 0 {
        name.push(format!(".{}", before + 1));
    }
    name.into()
}

/// What is said while it takes long.
pub fn slow(path: &Path, reached: Reached) -> String {
    let name = numbered(path, reached.before);
    let name = name.display();
    format!("waiting for the disk to take the rest of {name}; Ctrl-C ends without it")
}

/// What is said where nobody waited for the disk.
pub fn given_up(path: &Path, reached: Reached) -> String {
    let name = numbered(path, reached.before);
    let Reach { bytes, records, .. } = reached.reach;
    let certain = if is_readable(reached.reach) {
        let size = format::mebibytes(bytes);
        format!(
            "its first {size}, with {records} records, are certain, and can be read as a recording that was cut"
        )
    } else {
        "nothing of it is certain".to_owned()
    };
    format!(
        "ended without waiting for the disk to take the rest of {}; {certain}",
        name.display()
    )
}

/// What is said where not even a beginning could be written.
pub fn not_begun(path: &Path, error: &io::Error) -> String {
    let remedy = if is_full(error) {
        "make room, or record to another disk"
    } else {
        "record to another disk"
    };
    format!(
        "write {}: {error}; nothing was recorded; {remedy}",
        path.display()
    )
}

/// What is said where the file could not be written to its end.
pub fn failed(path: &Path, reached: Reached, error: &io::Error) -> String {
    let name = numbered(path, reached.before);
    let remedy = if is_full(error) {
        "make room, or record fewer I/Os with --sample or --slower-than"
    } else {
        "record to another disk"
    };
    format!(
        "write {}: {error}; {}; {} more records were lost; {remedy}",
        name.display(),
        readable(reached.reach),
        reached.lost,
    )
}

/// The same of a file of a ring, which could not even be made where nothing is known of how far it goes.
pub fn ring_failed(path: &Path, before: u32, reach: Option<Reach>, error: &io::Error) -> String {
    let Some(reach) = reach else {
        return format!("{error}; recording goes on");
    };
    let room = if is_full(error) {
        "make room, and "
    } else {
        ""
    };
    format!(
        "write {}: {error}; {}; recording goes on: {room}SIGUSR1 writes what is in memory then to {}",
        numbered(path, before).display(),
        readable(reach),
        numbered(path, before + 1).display(),
    )
}

fn readable(reach: Reach) -> String {
    if !is_readable(reach) {
        return "nothing of it can be read".to_owned();
    }
    let size = format::mebibytes(reach.bytes);
    let records = reach.records;
    format!("its first {size}, with {records} records, can be read as a recording that was cut")
}

/// Without a snapshot the rest says nothing.
const fn is_readable(reach: Reach) -> bool {
    reach.pictures > 0
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::PipeReader;
    use std::os::fd::OwnedFd;
    use std::sync::mpsc;

    use bytemuck::Zeroable as _;
    use signal_hook::consts::{SIGINT, SIGTERM};
    use verity_trace::recorder::{Recorder, Sink};
    use verity_trace::recording::{Ended, Header, Machine};
    use verity_trace_ebpf::record::Record;

    use super::*;

    /// The end of a recording into a pipe, which takes no more than the few KiB that are kept for it.
    fn stuck() -> (Ending, PipeReader) {
        let (reader, writer) = io::pipe().expect("a pipe");
        let file = File::from(OwnedFd::from(writer));
        let recorder = Recorder::start(Sink::File(file), Header::default(), &Machine::default());
        let mut recorder = recorder.expect("a recording");
        for number in 0..100_000_u64 {
            let scattered = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            recorder.record(Record {
                sector: scattered,
                cgroup: scattered.rotate_left(20),
                ..Record::zeroed()
            });
        }
        (recorder.finish(1, Ended::Duration), reader)
    }

    #[test]
    fn a_signal_ends_the_wait_for_a_disk_that_is_stuck() {
        let (ending, reader) = stuck();
        let (sender, events) = mpsc::channel();
        sender.send(Event::Signal(SIGINT)).expect("a listener");
        settle(&events, None);
        for signal in [SIGUSR1, SIGTERM] {
            sender.send(Event::Signal(signal)).expect("a listener");
        }
        let is_slow = || panic!("the signals are there");
        assert_eq!(wait(&ending, &events, None, is_slow), Some(SIGTERM));
        assert!(!ending.is_over());
        assert_eq!(ending.reached().reach, Reach::default());
        let line = given_up(Path::new("run"), ending.reached());
        assert!(
            line.ends_with("rest of run; nothing of it is certain"),
            "{line}"
        );
        drop(reader);
        let error = ending.wait().expect_err("nobody takes it");
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn what_fails_ends_the_wait_by_itself() {
        let (ending, reader) = stuck();
        let (_sender, events) = mpsc::channel();
        drop(reader);
        assert_eq!(wait(&ending, &events, None, || {}), None);
        assert!(ending.is_over());
    }

    #[test]
    fn of_a_file_that_is_not_whole_it_is_said_what_why_and_what_next() {
        let reached = |pictures, before| Reached {
            before,
            reach: Reach {
                bytes: 3 << 20,
                records: 40_000,
                pictures,
            },
            lost: 7,
        };
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let broken = io::Error::from(io::ErrorKind::ConnectionReset);
        let path = Path::new("run");
        let lines = [
            not_begun(path, &full),
            failed(path, reached(1, 0), &full),
            failed(path, reached(0, 0), &broken),
            given_up(path, reached(1, 0)),
            slow(path, reached(1, 0)),
            ring_failed(path, 1, Some(reached(1, 1).reach), &full),
            ring_failed(path, 0, Some(reached(0, 0).reach), &broken),
            ring_failed(path, 0, None, &io::Error::other("run exists")),
        ];
        let expected = [
            "write run: no storage space; nothing was recorded; make room, or record to another disk",
            "write run: no storage space; its first 3.00 MiB, with 40000 records, can be read as a recording \
             that was cut; 7 more records were lost; make room, or record fewer I/Os with --sample or \
             --slower-than",
            "write run: connection reset; nothing of it can be read; 7 more records were lost; record to \
             another disk",
            "ended without waiting for the disk to take the rest of run; its first 3.00 MiB, with 40000 \
             records, are certain, and can be read as a recording that was cut",
            "waiting for the disk to take the rest of run; Ctrl-C ends without it",
            "write run.2: no storage space; its first 3.00 MiB, with 40000 records, can be read as a recording \
             that was cut; recording goes on: make room, and SIGUSR1 writes what is in memory then to run.3",
            "write run: connection reset; nothing of it can be read; recording goes on: SIGUSR1 writes what is \
             in memory then to run.2",
            "run exists; recording goes on",
        ];
        assert_eq!(lines, expected);
    }
}
