//! Files that go into a machine and come back out of it.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail};
use cpio::newc;

use crate::Usage;

/// The bits of a mode that tell the type, and their values for what comes back.
const TYPE: u32 = 0o170_000;
const FOLDER: u32 = 0o040_000;
const FILE: u32 = 0o100_000;

/// A file or folder that appears as `/lab/in/NAME`.
#[derive(Debug, PartialEq)]
pub struct Input {
    pub path: PathBuf,
    pub name: String,
}

impl Input {
    /// Reads `HOSTPATH[:GUESTNAME]`.
    pub fn parse(text: &str) -> Result<Self> {
        let (path, name) = match text.split_once(':') {
            Some((path, name)) => (PathBuf::from(path), name.to_owned()),
            None => (PathBuf::from(text), own_name(Path::new(text))?),
        };
        if !path.exists() {
            return Err(Usage(format!("--in {}: there is no such file", path.display())).into());
        }
        if !is_inside(Path::new(&name)) {
            return Err(Usage(format!("--in {text}: `{name}` is no name below /lab/in")).into());
        }
        Ok(Self { path, name })
    }
}

fn own_name(path: &Path) -> Result<String> {
    let name = path.file_name().and_then(OsStr::to_str);
    name.map(str::to_owned)
        .ok_or_else(|| Usage(format!("--in {}: add a name for the guest", path.display())).into())
}

fn is_inside(name: &Path) -> bool {
    let mut parts = name.components().peekable();
    parts.peek().is_some() && parts.all(|part| matches!(part, Component::Normal(_)))
}

/// A file or folder that comes back after the job.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    pub guest: PathBuf,
    pub host: PathBuf,
}

impl Output {
    /// Reads `GUESTPATH:HOSTPATH`.
    pub fn parse(text: &str) -> Result<Self> {
        match text.split_once(':') {
            Some((guest, host)) if guest.starts_with('/') && !host.is_empty() => Ok(Self {
                guest: guest.trim_end_matches('/').into(),
                host: host.into(),
            }),
            _ => Err(Usage(format!("--out {text}: write /GUESTPATH:HOSTPATH")).into()),
        }
    }
}

/// Reads the archive that the guest sends and puts every file where an output wants it.
///
/// An output of which nothing came is an error, after the others have been written.
pub fn receive(mut from: impl Read, outputs: &[Output]) -> Result<()> {
    let mut arrived = vec![false; outputs.len()];
    loop {
        let mut entry = newc::Reader::new(&mut from).context("read what the machine sends back")?;
        if entry.entry().is_trailer() {
            break;
        }
        let name = Path::new("/").join(entry.entry().name());
        match outputs
            .iter()
            .position(|output| name.starts_with(&output.guest))
        {
            Some(index) => {
                let to = destination(&outputs[index], &name)?;
                write_entry(&mut entry, &to).with_context(|| format!("write {}", to.display()))?;
                arrived[index] = true;
            }
            None => drop(io::copy(&mut entry, &mut io::sink())?),
        }
        entry.finish()?;
    }
    match arrived.iter().position(|&arrived| !arrived) {
        Some(index) => bail!(
            "--out {}: the machine has no such file",
            outputs[index].guest.display()
        ),
        None => Ok(()),
    }
}

/// Where a file of the guest goes; never outside of the place that the output names.
fn destination(output: &Output, name: &Path) -> Result<PathBuf> {
    let below = name.strip_prefix(&output.guest)?;
    if below.as_os_str().is_empty() {
        return Ok(output.host.clone());
    }
    if !is_inside(below) {
        bail!("the machine sends back a file named {}", name.display());
    }
    Ok(output.host.join(below))
}

fn write_entry(entry: &mut newc::Reader<impl Read>, to: &Path) -> Result<()> {
    let mode = entry.entry().mode();
    match mode & TYPE {
        FOLDER => fs::create_dir_all(to)?,
        FILE => {
            io::copy(entry, &mut File::create(to)?)?;
            fs::set_permissions(to, fs::Permissions::from_mode(mode & 0o777))?;
        }
        _ => bail!("it is neither a file nor a folder"),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn archive(entries: &[(&str, u32, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for &(name, mode, data) in entries {
            let size = u32::try_from(data.len()).unwrap();
            let mut writer = newc::Builder::new(name).mode(mode).write(&mut bytes, size);
            writer.write_all(data).unwrap();
            writer.finish().unwrap();
        }
        newc::trailer(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn what_comes_back_lands_where_it_was_wanted() {
        let dir = tempfile::tempdir().unwrap();
        let outputs = [
            Output {
                guest: "/tmp/a".into(),
                host: dir.path().join("one"),
            },
            Output {
                guest: "/tmp/d".into(),
                host: dir.path().join("two"),
            },
        ];
        let bytes = archive(&[
            ("tmp/a", FILE | 0o755, b"program"),
            ("tmp/d", FOLDER | 0o755, b""),
            ("tmp/d/x", FILE | 0o644, b"text"),
        ]);
        receive(&bytes[..], &outputs).unwrap();
        assert_eq!(fs::read(dir.path().join("one")).unwrap(), b"program");
        assert_eq!(fs::read(dir.path().join("two/x")).unwrap(), b"text");
    }

    #[test]
    fn a_machine_cannot_write_elsewhere() {
        let dir = tempfile::tempdir().unwrap();
        let outputs = [Output {
            guest: "/tmp/d".into(),
            host: dir.path().join("in"),
        }];
        let bytes = archive(&[("tmp/d/../../escaped", FILE | 0o644, b"text")]);
        assert!(receive(&bytes[..], &outputs).is_err());
        assert!(!dir.path().join("escaped").exists());
    }

    #[test]
    fn an_output_that_never_came_is_named() {
        let outputs = [Output {
            guest: "/tmp/a".into(),
            host: "unused".into(),
        }];
        let error = receive(&archive(&[])[..], &outputs).unwrap_err();
        assert_eq!(
            error.to_string(),
            "--out /tmp/a: the machine has no such file"
        );
    }

    #[test]
    fn reads_what_the_command_line_says() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_str().unwrap();
        let input = Input::parse(&format!("{path}:name")).unwrap();
        assert_eq!(
            input,
            Input {
                path: dir.path().into(),
                name: "name".into()
            }
        );
        assert!(Input::parse("/no/such/file").unwrap_err().is::<Usage>());
        assert!(
            Input::parse(&format!("{path}:../name"))
                .unwrap_err()
                .is::<Usage>()
        );
        let output = Output::parse("/tmp/x/:there").unwrap();
        assert_eq!(
            output,
            Output {
                guest: "/tmp/x".into(),
                host: "there".into()
            }
        );
        assert!(Output::parse("tmp").unwrap_err().is::<Usage>());
    }
}
