//! The unit for systemd, as systemd itself reads and judges it.

use std::fs;
use std::process::Command;

use crate::dashboards;

const FILE: &str = "verity-trace.service";

/// systemd's own measure of what a service that is taken over could do, from 0 to 100: it calls it `OK` to 49.
const EXPOSURE: &str = "--threshold=40";

#[test]
fn systemd_finds_nothing_wrong_and_little_exposed() {
    let unit = fs::read_to_string(dashboards().join(FILE)).expect("the unit");
    let installed = "/usr/bin/verity-trace";
    assert_eq!(unit.matches(installed).count(), 1);
    // What is to be started has to be there.
    let unit = unit.replace(installed, env!("CARGO_BIN_EXE_verity-trace"));
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(FILE);
    fs::write(&path, unit).expect("written");
    for arguments in [
        &["verify", "--man=no"][..],
        &["security", "--offline=yes", EXPOSURE, "--no-pager"],
    ] {
        let output = Command::new("systemd-analyze")
            .args(arguments)
            .arg(&path)
            .output()
            .expect("systemd-analyze: run `cargo xtask setup`");
        let [said, errors] =
            [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
        assert!(output.status.success(), "{said}{errors}");
        assert_eq!(errors, "", "{arguments:?}");
        println!("{}", said.lines().last().unwrap_or_default());
    }
}
