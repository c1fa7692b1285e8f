//! The verity devices as device-mapper describes them, without tracing anything.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use crate::dm::{self, VerityDevice};
use crate::error::Result;
use crate::kernel;
use crate::selection::Selection;
use crate::snapshot::{Era, Kernel};

/// What is known of the machine's verity devices at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inventory {
    /// When it was made, since the Unix epoch.
    pub taken_at: Duration,
    /// The machine.
    pub kernel: Kernel,
    /// The devices, by number.
    pub devices: Vec<VerityDevice>,
    /// The kernel's names of the devices and of those they lie on, such as `vda` for `254:0`; one
    /// that could not be found out is absent.
    pub kernel_names: BTreeMap<String, String>,
}

impl Inventory {
    /// Asks the running kernel. Where nothing is selected it is an error.
    pub fn read(selection: &Selection) -> Result<Self> {
        dm::require_root()?;
        let devices = dm::verity_devices()?;
        let selected = selection.all_of(&devices, &selection.mounts()?)?;
        let devices: Vec<VerityDevice> = selected.into_iter().cloned().collect();
        Ok(Self {
            taken_at: SystemTime::now()
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap_or_default(),
            kernel: Kernel {
                era: kernel::era()?,
                ..kernel::machine()
            },
            kernel_names: kernel_names(&devices),
            devices,
        })
    }
}

/// Whether anything but kverityd can have verified on a kernel of this era; absent where only tracing
/// tells.
#[must_use]
pub const fn effective(era: Option<Era>) -> Option<bool> {
    match era {
        Some(Era::Inert | Era::NoOption) => Some(false),
        _ => None,
    }
}

/// The kernel's names of devices and of those that they lie on, as [`Inventory::kernel_names`].
#[must_use]
pub fn kernel_names(devices: &[VerityDevice]) -> BTreeMap<String, String> {
    devices
        .iter()
        .flat_map(numbers)
        .filter_map(|number| Some((number.clone(), dm::kernel_name(&number)?)))
        .collect()
}

/// The numbers of a device and of those that it lies on.
fn numbers(device: &VerityDevice) -> Vec<String> {
    let table = &device.table;
    let fec = table
        .options
        .fec
        .as_ref()
        .and_then(|fec| fec.device.clone());
    let below = [table.data_device.clone(), table.hash_device.clone()];
    [device.number.to_string()]
        .into_iter()
        .chain(below)
        .chain(fec)
        .collect()
}
