//! Which address the machine itself fetches Debian's packages from.

use std::env;
use std::fs;
use std::process::Command;

use anyhow::{Context, Result};

use crate::command;

/// Names the archive's address when the machine's apt does not know one.
pub const VARIABLE: &str = "DEBIAN_MIRROR";

/// Releases that only Debian's main archive uses, beside the machine's own code name.
const RELEASES: [&str; 4] = ["stable", "testing", "unstable", "sid"];

/// The Debian archive that the machine's apt is set up with.
pub fn find() -> Result<String> {
    if let Ok(mirror) = env::var(VARIABLE) {
        return Ok(mirror);
    }
    let format = "$(REPO_URI) $(RELEASE) $(COMPONENT)";
    let mut targets = Command::new("apt-get");
    targets.args(["indextargets", "--no-release-info", "--format", format]);
    let hint = || format!("find a Debian archive in apt's configuration: set {VARIABLE}=ADDRESS");
    let targets = command::output(&mut targets).with_context(hint)?;
    let release = fs::read_to_string("/etc/os-release").with_context(hint)?;
    choose(&targets, code_name(&release)).with_context(hint)
}

/// Takes the first archive with a main component of a Debian release; its usual name goes first,
/// as others use the same code names.
fn choose(targets: &str, code_name: Option<&str>) -> Option<String> {
    let mut archives: Vec<&str> = targets
        .lines()
        .filter_map(|line| archive(line, code_name))
        .collect();
    archives.sort_by_key(|address| !address.trim_end_matches('/').ends_with("/debian"));
    archives.first().map(|&address| address.to_owned())
}

fn archive<'a>(line: &'a str, code_name: Option<&str>) -> Option<&'a str> {
    let mut fields = line.split_whitespace();
    let (address, release, component) = (fields.next()?, fields.next()?, fields.next()?);
    let is_debian = RELEASES.contains(&release) || Some(release) == code_name;
    (is_debian && component == "main").then_some(address)
}

fn code_name(os_release: &str) -> Option<&str> {
    let value = |line| str::strip_prefix(line, "VERSION_CODENAME=");
    os_release
        .lines()
        .find_map(value)
        .map(|name| name.trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGETS: &str = "\
http://one.example/security/ bookworm-security main
http://two.example/node/ nodistro main
http://three.example/tools/ bookworm main
http://four.example/debian/ bookworm-updates main
http://four.example/debian/ bookworm main
http://five.example/debian/ bookworm contrib
";

    #[test]
    fn takes_the_main_archive_and_no_other() {
        assert_eq!(
            choose(TARGETS, Some("bookworm")).as_deref(),
            Some("http://four.example/debian/")
        );
    }

    #[test]
    fn takes_an_archive_by_another_name_rather_than_none() {
        let targets = "http://cache.example/deb bookworm main\n";
        assert_eq!(
            choose(targets, Some("bookworm")).as_deref(),
            Some("http://cache.example/deb")
        );
        assert_eq!(choose(targets, Some("noble")), None);
    }

    #[test]
    fn reads_the_code_name() {
        assert_eq!(
            code_name("ID=debian\nVERSION_CODENAME=trixie\n"),
            Some("trixie")
        );
        assert_eq!(code_name("ID=arch\n"), None);
    }
}
