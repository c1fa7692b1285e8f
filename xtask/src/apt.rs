//! Packages out of any Debian suite, fetched and unpacked without touching the machine's apt.

mod mirror;

pub use mirror::VARIABLE as MIRROR;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::{command, progress, workspace};

/// The Debian archive's keys, where Debian and its derivatives keep them.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// What helps when packages cannot be had.
pub const BY_HAND: &str = "name an archive that has it, DEBIAN_MIRROR=ADDRESS cargo xtask setup";

/// Parts of packages that nobody reads in a lab.
const UNREAD: [&str; 6] = ["doc", "locale", "man", "info", "icons", "bash-completion"];

/// One Debian suite, with an apt state of its own in which nothing is installed.
pub struct Suite {
    name: &'static str,
    dir: PathBuf,
}

/// Which packages to fetch.
#[derive(Clone, Copy)]
pub enum Reach {
    /// Only the named ones.
    Named,
    /// The named ones and everything that they depend on, as for an empty machine.
    Closure,
}

impl Suite {
    /// Brings the suite's package list up to date.
    pub fn open(name: &'static str) -> Result<Self> {
        let suite = Self {
            name,
            dir: workspace::target("apt").join(name),
        };
        suite.write_state()?;
        let step = progress::step(&format!("reading {name}'s package list"));
        let mut update = suite.apt("apt-get");
        command::output(update.args(["update", "-qq", "--error-on=any"]))
            .with_context(|| format!("read the package list of Debian {name}"))?;
        step.finish_and_clear();
        Ok(suite)
    }

    /// The names of all packages that start with `prefix`.
    pub fn names(&self, prefix: &str) -> Result<Vec<String>> {
        let names = command::output(self.apt("apt-cache").args(["pkgnames", prefix]))?;
        Ok(names.lines().map(str::to_owned).collect())
    }

    /// The versions of a package that the suite carries.
    pub fn versions(&self, package: &str) -> Result<Vec<String>> {
        let table = command::output(self.apt("apt-cache").args(["madison", package]))?;
        Ok(table.lines().filter_map(madison_version).collect())
    }

    /// Fetches packages and unpacks them over each other into `dest`.
    pub fn unpack(&self, what: &str, packages: &[&str], reach: Reach, dest: &Path) -> Result<()> {
        let archives = self.fetch(what, packages, reach)?;
        let step = progress::step(&format!("unpacking {what}"));
        for deb in deb_files(&archives)? {
            command::output(Command::new("dpkg-deb").arg("-x").arg(&deb).arg(dest))?;
        }
        for name in UNREAD {
            fs::remove_dir_all(dest.join("usr/share").join(name)).ok();
        }
        fs::remove_dir_all(&archives)?;
        step.finish_and_clear();
        Ok(())
    }

    /// Fetches packages and returns the folder that holds them.
    pub fn fetch(&self, what: &str, packages: &[&str], reach: Reach) -> Result<PathBuf> {
        let archives = self.dir.join("archives");
        fs::remove_dir_all(&archives).ok();
        fs::create_dir_all(archives.join("partial"))?;
        let files = command::output(
            self.fetching(reach, &archives, packages)
                .arg("--print-uris"),
        )
        .with_context(|| format!("find {} in Debian {}", packages.join(" "), self.name))?;
        self.download(
            what,
            total_size(&files),
            self.fetching(reach, &archives, packages),
        )
        .with_context(|| format!("fetch {what} from Debian {}", self.name))?;
        Ok(archives)
    }

    fn fetching(&self, reach: Reach, archives: &Path, packages: &[&str]) -> Command {
        let mut command = self.apt("apt-get");
        command.current_dir(archives).arg("-qq");
        match reach {
            Reach::Named => command.arg("download"),
            Reach::Closure => command.args(["install", "--yes", "--download-only"]),
        };
        command
            .arg(option("Dir::Cache::archives", archives))
            .args(packages);
        command
    }

    /// Lets apt download, and shows the percentage that it reports as bytes.
    fn download(&self, what: &str, bytes: u64, mut command: Command) -> Result<()> {
        let bar = progress::download(what, bytes);
        let errors = self.dir.join("errors");
        let mut apt = command
            .arg("-oAPT::Status-Fd=1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(&errors)?)
            .spawn()
            .context("start apt-get")?;
        let lines = BufReader::new(apt.stdout.take().context("apt-get has no output")?).lines();
        for line in lines.map_while(Result::ok) {
            if let Some(share) = downloaded_share(&line) {
                bar.set_position(share_of(bytes, share));
            }
        }
        bar.finish_and_clear();
        if !apt.wait()?.success() {
            bail!(
                "apt-get: {}",
                fs::read_to_string(&errors)?.trim().replace('\n', " | ")
            );
        }
        Ok(())
    }

    fn write_state(&self) -> Result<()> {
        fs::create_dir_all(self.dir.join("lists/partial"))?;
        fs::write(self.dir.join("status"), "")?;
        let signed_by = if Path::new(KEYRING).exists() {
            KEYRING
        } else {
            ""
        };
        let sources = format!(
            "Types: deb\nURIs: {}\nSuites: {}\nComponents: main\nTargets: Packages\nSigned-By: {signed_by}\n",
            mirror::find()?,
            self.name
        );
        fs::write(self.dir.join("list.sources"), sources)
            .with_context(|| format!("write in {}", self.dir.display()))
    }

    /// An apt program that sees nothing but this suite.
    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env("LC_ALL", "C")
            .arg(option(
                "Dir::Etc::SourceList",
                &self.dir.join("list.sources"),
            ))
            .arg("-oDir::Etc::SourceParts=/dev/null")
            .arg("-oDir::Etc::Preferences=/dev/null")
            .arg("-oDir::Etc::PreferencesParts=/dev/null")
            .arg(option("Dir::State::Lists", &self.dir.join("lists")))
            .arg(option("Dir::State::Status", &self.dir.join("status")))
            .arg(option("Dir::Cache", &self.dir))
            .args(["-oAPT::Architecture=amd64", "-oAPT::Architectures::=amd64"])
            .args([
                "-oAPT::Install-Recommends=false",
                "-oAcquire::Languages=none",
            ])
            .args(["-oAPT::Sandbox::User=root", "-oAcquire::Retries=3"])
            .args(["-oDebug::NoLocking=true", "-oAPT::Default-Release="]);
        command
    }
}

fn option(name: &str, path: &Path) -> String {
    format!("-o{name}={}", path.display())
}

fn deb_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// `PACKAGE | VERSION | SOURCE`, as `apt-cache madison` prints.
fn madison_version(line: &str) -> Option<String> {
    Some(line.split('|').nth(1)?.trim().to_owned())
}

/// Adds up the third column, bytes, of what `--print-uris` prints.
fn total_size(uris: &str) -> u64 {
    let size = |line: &str| line.split_whitespace().nth(2)?.parse::<u64>().ok();
    uris.lines().filter_map(size).sum()
}

/// The percentage in a line like `dlstatus:3:41.5:Retrieving file 3 of 9`.
fn downloaded_share(line: &str) -> Option<f64> {
    line.strip_prefix("dlstatus:")?
        .split(':')
        .nth(1)?
        .parse()
        .ok()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a bar's position"
)]
fn share_of(bytes: u64, percent: f64) -> u64 {
    (bytes as f64 * percent / 100.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_version_column() {
        let line = "  rust-src | 1.95.0+dfsg1-2~bpo13+1 | mirror trixie-backports/main Packages";
        assert_eq!(
            madison_version(line).as_deref(),
            Some("1.95.0+dfsg1-2~bpo13+1")
        );
        assert_eq!(madison_version("N: nothing"), None);
    }

    #[test]
    fn adds_up_the_sizes() {
        let uris = "'mirror/a.deb' a_1_amd64.deb 1200 SHA256:00\n'mirror/b.deb' b_2_all.deb 34 \n";
        assert_eq!(total_size(uris), 1234);
    }

    #[test]
    fn a_status_line_tells_the_share() {
        assert_eq!(
            downloaded_share("dlstatus:3:41.5:Retrieving file 3 of 9"),
            Some(41.5)
        );
        assert_eq!(downloaded_share("pmstatus:dpkg:10:Unpacking"), None);
        assert_eq!(share_of(1000, 41.5), 415);
    }
}
