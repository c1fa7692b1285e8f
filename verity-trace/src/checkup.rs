//! How the running kernel would be watched, without attaching anything.

use crate::error::{Error, Result};
use crate::kernel::{self, Symbols, Types};
use crate::live::Options;
use crate::plan::facts::Facts;
use crate::plan::memory::MapSize;
use crate::plan::{self, Plan, Refusals};
use crate::snapshot::{Kernel, Probe, Rung};
use crate::{dm, live};

/// All that is known before anything is attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkup {
    /// The machine.
    pub kernel: Kernel,
    /// CPUs that could come online.
    pub possible_cpus: usize,
    /// What the plan was made from.
    pub facts: Facts,
    /// How it would be watched, with the gaps of the optional views that were asked for.
    pub plan: Plan,
    /// What would be watched for these views.
    pub optional: Vec<Probe>,
    /// The only rung that was to be tried.
    pub wish: Option<Rung>,
    /// How many devices would have counters of their own.
    pub max_devices: u32,
    /// The maps that would be created; absent where there is no plan, or no programs were built.
    pub maps: Option<Vec<MapSize>>,
}

impl Checkup {
    /// Asks the running kernel.
    pub fn read(options: Options) -> Result<Self> {
        dm::require_root()?;
        let types = Types::read()?;
        let facts = kernel::facts(&types, &Symbols::read()?)?;
        let mut plan = plan::plan(&facts, options.rung, &Refusals::default());
        let (optional, gaps) = plan
            .rung
            .map_or_else(Default::default, |rung| options.optional(rung, &types));
        plan.gaps.extend(gaps);
        let maps = match plan.rung {
            Some(rung) if live::built().is_ok() => Some(live::maps::planned(options, rung)?),
            _ => None,
        };
        Ok(Self {
            kernel: Kernel {
                era: plan.era.map(|(era, _)| era),
                ..kernel::machine()
            },
            possible_cpus: kernel::possible_cpus()?,
            facts,
            plan,
            optional,
            wish: options.rung,
            max_devices: options.max_devices,
            maps,
        })
    }

    /// Everything that would be watched.
    #[must_use]
    pub fn probes(&self) -> Vec<Probe> {
        let mut probes = self.plan.probes();
        probes.extend(&self.optional);
        probes
    }

    /// Bytes of the kernel's memory that the maps would take.
    #[must_use]
    pub fn bytes(&self) -> Option<u64> {
        let cpus = self.possible_cpus as u64;
        let maps = self.maps.as_ref()?;
        Some(maps.iter().map(|map| map.bytes(cpus)).sum())
    }

    /// An error where the kernel cannot be traced, whatever is loaded.
    pub fn verdict(&self) -> Result<()> {
        live::built()?;
        if self.plan.rung.is_none() && !self.plan.waits_for_module {
            return Err(Error::Kernel(live::impossible(self.wish, &self.plan)));
        }
        Ok(())
    }
}

/// The facts about the running kernel.
pub fn facts() -> Result<Facts> {
    dm::require_root()?;
    kernel::facts(&Types::read()?, &Symbols::read()?)
}
