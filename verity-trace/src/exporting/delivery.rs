//! Where documents go, and in which format.

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use verity_trace::cli::{Export, ExportFormat};
use verity_trace::decode::Io;
use verity_trace::error::Result;
use verity_trace::export::{self, Records};
use verity_trace::metrics::{self, Limits};
use verity_trace::output;
use verity_trace::recommend::Advice;
use verity_trace::snapshot::Snapshot;

/// What a document is made from.
pub struct Parcel {
    pub snapshot: Snapshot,
    pub advices: Vec<Advice>,
    /// I/Os one by one, and how many more there were; absent unless they were asked for.
    pub records: Option<(Vec<Io>, u64)>,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Delivery {
    format: ExportFormat,
    /// Devices with metrics of their own.
    limits: Limits,
    /// The file that is replaced, and its mode; standard output where absent.
    file: Option<(PathBuf, u32)>,
}

impl Delivery {
    /// As asked for, if the file may be replaced.
    pub fn of(arguments: &Export) -> Result<Self> {
        if let Some(path) = &arguments.output {
            output::replaceable(path)?;
        }
        let output = arguments.output.as_ref();
        Ok(Self {
            format: arguments.format,
            limits: Limits {
                devices: arguments.source.probing.max_devices as usize,
                ..Limits::default()
            },
            file: output.map(|path| (path.clone(), arguments.mode)),
        })
    }

    /// Writes a document, and says whether somebody may read a further one.
    pub fn deliver(&self, parcel: &Parcel) -> Result<bool> {
        if let Some((path, mode)) = &self.file {
            output::replace(path, *mode, |out| self.write(parcel, out))?;
            return Ok(true);
        }
        let mut out = BufWriter::new(io::stdout().lock());
        match self.write(parcel, &mut out).and_then(|()| out.flush()) {
            Ok(()) => Ok(true),
            // A reader that went away is not an error.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
            Err(error) => Err(anyhow::Error::new(error)
                .context("write to standard output")
                .into()),
        }
    }

    /// Whether nobody has closed the pipe meanwhile.
    pub fn has_reader(&self) -> bool {
        let stdout = io::stdout();
        let mut polled = [PollFd::new(&stdout, PollFlags::empty())];
        let is_closed = poll(&mut polled, Some(&Timespec::default())).is_ok()
            && polled[0].revents().contains(PollFlags::ERR);
        self.file.is_some() || !is_closed
    }

    fn write(&self, parcel: &Parcel, mut out: &mut dyn Write) -> io::Result<()> {
        let Parcel {
            snapshot,
            advices,
            records,
        } = parcel;
        let records = records
            .as_ref()
            .map(|&(ref ios, omitted)| Records { ios, omitted });
        match self.format {
            ExportFormat::Json => export::json(snapshot, advices, records, &mut out),
            ExportFormat::Ndjson => export::line(snapshot, advices, records, &mut out),
            ExportFormat::Openmetrics => {
                let text = metrics::openmetrics(snapshot, advices, &self.limits);
                out.write_all(text.as_bytes())
            }
            ExportFormat::Prometheus => {
                let text = metrics::text(snapshot, advices, &self.limits);
                out.write_all(text.as_bytes())
            }
        }
    }
}
