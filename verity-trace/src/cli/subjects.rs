//! What a command is about: a recording, or devices, or devices of a recording.

use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::archive::{self, Given};
use crate::demo::Demo;
use crate::error::Error;
use crate::mounts::Mounts;
use crate::selection::{Selection, Selector};

/// A recording, or devices, or devices of a recording.
#[derive(Clone, Debug, Args)]
pub struct Subjects {
    /// Read what is left of a damaged recording
    #[arg(long)]
    pub salvage: bool,
    /// Take a recording that travels with the program: of Linux 6.1, 6.12 or 7.3 in a virtual machine
    #[arg(
        long,
        value_name = "KERNEL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "7.3",
        value_parser = Demo::parse
    )]
    demo: Option<Demo>,
    /// A recording, if it is the name of a file; and devices, to show these alone: a name, a pattern such as
    /// 'app-*', /dev/mapper/NAME, dm-N, MAJOR:MINOR or a mount point, which a recording does not know; CPUs,
    /// loss and other devices' totals stay those of the machine
    #[arg(value_name = "FILE|DEVICE", value_parser = Subject::parse)]
    named: Vec<Subject>,
}

impl Subjects {
    /// The recording, where there is one, and the devices.
    pub fn given(&self) -> Result<(Option<Given<'_>>, Selection), Error> {
        let mut given: Vec<_> = self.demo.into_iter().map(Given::Demo).collect();
        let mut devices = Vec::new();
        for subject in &self.named {
            match subject {
                Subject::File(path) => given.push(Given::File(path)),
                Subject::Device(selector) => devices.push(selector.clone()),
                Subject::Folder(_, selector) => devices.extend(selector.clone()),
            }
        }
        let usage = |text: &str| Err(Error::Usage(text.to_owned()));
        if given.is_empty() {
            self.no_folder()?;
        }
        match given[..] {
            [] if self.salvage => usage("--salvage is for a recording, and no argument is a file"),
            [] => Ok((None, Selection::new(devices))),
            [one] => Ok((Some(one), Selection::new(devices))),
            _ => usage("there is more than one recording"),
        }
    }

    /// The same where something may ask to watch, which is not done with a recording.
    pub(super) fn not_watched(
        &self,
        watches: bool,
    ) -> Result<(Option<Given<'_>>, Selection), Error> {
        match self.given()? {
            (Some(_), _) if watches => Err(Error::Usage(
                "a recording is not watched: leave out how to watch, and how long".to_owned(),
            )),
            given => Ok(given),
        }
    }

    /// That no argument is a folder where a recording may have been meant: one that is no mount point.
    fn no_folder(&self) -> Result<(), Error> {
        for subject in &self.named {
            if let Subject::Folder(path, device) = subject
                && (device.is_none() || !Mounts::read()?.has(path))
            {
                return Err(is_folder(path));
            }
        }
        Ok(())
    }

    /// The recording, which there has to be, and the devices.
    pub fn recording(&self) -> Result<(Given<'_>, Selection), Error> {
        let (given, selection) = self.given()?;
        if let Some(given) = given {
            return Ok((given, selection));
        }
        let mut folders = self.named.iter().filter_map(|subject| match subject {
            Subject::Folder(path, _) => Some(path),
            _ => None,
        });
        Err(folders.next().map_or_else(
            || Error::Usage("there is no recording: name a file, or try --demo".to_owned()),
            |path| is_folder(path),
        ))
    }
}

fn is_folder(path: &Path) -> Error {
    Error::Input(format!("{}: {}", path.display(), archive::FOLDER))
}

/// A recording or a device.
#[derive(Clone, Debug)]
enum Subject {
    File(PathBuf),
    Device(Selector),
    /// A folder, which may be a mount point.
    Folder(PathBuf, Option<Selector>),
}

impl Subject {
    /// What is a file is taken for a recording, but for the nodes and folders that stand for devices.
    fn parse(text: &str) -> Result<Self, String> {
        let kind = std::fs::metadata(text).ok().map(|it| it.file_type());
        if kind.is_some_and(|it| it.is_file() || it.is_fifo()) {
            return Ok(Self::File(text.into()));
        }
        let device = Selector::parse(text);
        // What has no slash can be a device's name.
        if text.contains('/') && kind.is_some_and(|it| it.is_dir()) {
            return Ok(Self::Folder(text.into(), device.ok()));
        }
        let device = device.map(Self::Device);
        device.map_err(|error| format!("no such file, and {error}"))
    }
}
