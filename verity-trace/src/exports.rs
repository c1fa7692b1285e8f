//! Snapshots that the live view exports, each into a file of its own in the current folder.

use std::fs;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};
use std::thread;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use verity_trace::error::{Error, Result};
use verity_trace::tui::{Exported, Message};
use verity_trace::{export, output};

/// How long an export may keep the program from ending.
const PATIENCE: Duration = Duration::from_secs(2);

/// See the module. A thread of its own writes each: the disk may be what hangs.
pub struct Exports {
    messages: Sender<Message>,
    /// Hung up once the last one is written.
    writing: Option<Receiver<()>>,
}

impl Exports {
    /// What became of each is said to the view.
    pub const fn new(messages: Sender<Message>) -> Self {
        Self {
            messages,
            writing: None,
        }
    }

    /// Writes one, unless the one before is being written still.
    pub fn write(&mut self, exported: Box<Exported>) {
        let messages = self.messages.clone();
        let is_writing = |writing: &Receiver<()>| writing.try_recv() == Err(TryRecvError::Empty);
        if self.writing.as_ref().is_some_and(is_writing) {
            let text = "the export before this one is not written yet";
            // A view that is gone has ended already.
            let _ = messages.send(Message::Notice(text.to_owned()));
            return;
        }
        let (written, writing) = mpsc::channel();
        self.writing = Some(writing);
        thread::spawn(move || {
            let text = match write(&exported) {
                Ok(name) => format!("wrote {name}"),
                Err(error) => format!("nothing was exported: {error}"),
            };
            // As above.
            let _ = messages.send(Message::Notice(text));
            drop(written);
        });
    }

    /// Waits for the last one, but not for long.
    pub fn finish(self) {
        if let Some(writing) = self.writing {
            let _ = writing.recv_timeout(PATIENCE);
        }
    }
}

fn write(exported: &Exported) -> Result<String> {
    let Exported { snapshot, advices } = exported;
    let name = name(snapshot.taken_at, "json");
    let path = Path::new(&name);
    if fs::symlink_metadata(path).is_ok() {
        return Err(Error::Usage(format!("{name} is there already")));
    }
    let mut out = BufWriter::new(output::create(path, false)?);
    export::json(snapshot, advices, None, &mut out)
        .and_then(|()| out.flush())
        .with_context(|| format!("write {name}"))?;
    Ok(name)
}

/// The name of a file for something of this moment, since the Unix epoch.
pub fn name(at: Duration, ending: &str) -> String {
    let at = humantime::format_rfc3339_millis(SystemTime::UNIX_EPOCH + at).to_string();
    format!("verity-trace-{}.{ending}", at.replace(['-', ':'], ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_called_after_its_moment() {
        let at = Duration::from_millis(1_795_000_072_045);
        assert_eq!(name(at, "json"), "verity-trace-20261118T110752.045Z.json");
    }
}
