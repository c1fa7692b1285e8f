//! What was found of the machine and the device, before anything is judged.

use std::path::Path;
use std::thread;
use std::time::Duration;

use verity_trace::dm::VerityDevice;
use verity_trace::error::Result;
use verity_trace::mounts::Mounts;
use verity_trace::tune::{Facts, Root};
use verity_trace::{cli, disks, kernel};

/// Whoever has no I/O for so long is not concerned now.
const QUIET: Duration = Duration::from_millis(500);

/// Where the system itself is mounted.
const SYSTEM: [&str; 2] = ["/", "/usr"];

/// See the module.
pub fn facts(
    device: &VerityDevice,
    devices: &[VerityDevice],
    arguments: &cli::Tune,
) -> Result<Facts> {
    let asks_for_others = arguments.limits.is_some() && !arguments.all_devices;
    let limits = kernel::use_bh_bytes();
    Ok(Facts {
        era: kernel::era()?,
        live: super::look(device)?,
        requires_signatures: kernel::requires_signatures(),
        root: root(device, devices)?,
        use_bh_bytes: limits.and_then(|it| it.try_into().ok()),
        others: if asks_for_others {
            busy(device, devices)
        } else {
            Vec::new()
        },
    })
}

fn root(device: &VerityDevice, devices: &[VerityDevice]) -> Result<Root> {
    let mut found = Root::No;
    for mounts in [Mounts::read()?, Mounts::of_the_system()?] {
        for point in SYSTEM {
            match mounts.lies_on(Path::new(point), device.number, devices) {
                Some(true) => return Ok(Root::Yes(point)),
                Some(false) => {}
                None => found = Root::Unknown(point),
            }
        }
    }
    Ok(found)
}

/// Other devices with the option that have I/O.
fn busy(device: &VerityDevice, devices: &[VerityDevice]) -> Vec<String> {
    let others = devices
        .iter()
        .filter(|other| other.number != device.number && other.table.options.try_verify_in_tasklet);
    let reads = |other: &VerityDevice| disks::reads(other.number).ok();
    let before: Vec<_> = others.map(|other| (other, reads(other))).collect();
    if !before.is_empty() {
        thread::sleep(QUIET);
    }
    let busy = before
        .into_iter()
        .filter(|(other, before)| reads(other) != *before);
    busy.map(|(other, _)| other.name.clone()).collect()
}
