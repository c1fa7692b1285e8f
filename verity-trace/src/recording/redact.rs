//! What a recording leaves out that is to be shown to others: host, command names, root hashes and
//! salts.

use verity_trace_ebpf::record::{COMMAND_BYTES, Record};

use crate::dm::VerityDevice;
use crate::snapshot::Snapshot;
use crate::target::Table;

/// What stands where something was left out that cannot be absent.
const REDACTED: &str = "redacted";

/// Leaves out the command.
pub const fn record(record: &mut Record) {
    record.command = [0; COMMAND_BYTES];
}

/// Leaves out what a table says of the contents.
pub fn device(device: &mut VerityDevice) {
    table(&mut device.table);
}

/// Leaves out all of it.
pub fn snapshot(snapshot: &mut Snapshot) {
    REDACTED.clone_into(&mut snapshot.kernel.host);
    let devices = snapshot.devices.iter_mut();
    for device in devices {
        table(&mut device.table);
        for totals in [&mut device.totals, &mut device.recent] {
            let submitters = totals.as_mut().and_then(|it| it.submitters.as_mut());
            for submitter in submitters.into_iter().flat_map(|it| &mut it.top) {
                REDACTED.clone_into(&mut submitter.command);
            }
        }
    }
    let other = snapshot
        .other
        .as_mut()
        .and_then(|it| it.totals.submitters.as_mut());
    for submitter in other.into_iter().flat_map(|it| &mut it.top) {
        REDACTED.clone_into(&mut submitter.command);
    }
}

fn table(table: &mut Table) {
    REDACTED.clone_into(&mut table.root_hash);
    if let Some(salt) = &mut table.salt {
        REDACTED.clone_into(salt);
    }
}
