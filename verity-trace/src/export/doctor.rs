//! The types of the JSON document about how a kernel would be watched.

use schemars::JsonSchema;
use serde::Serialize;

use super::SCHEMA_VERSION;
use super::document::{Gap, Kernel, Probe};
use crate::checkup::Checkup;
use crate::snapshot::Rung;

/// How a kernel would be watched.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Diagnosis<'a> {
    schema_version: u32,
    version: &'static str,
    kernel: Kernel,
    possible_cpus: usize,
    machine: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    era_evidence: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lockdown: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kptr_restrict: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rung: Option<&'static str>,
    waits_for_module: bool,
    probes: Vec<Probe>,
    gaps: Vec<Gap>,
    max_devices: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    maps: Option<Vec<Map<'a>>>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Map<'a> {
    name: &'a str,
    entries: u32,
    bytes: u64,
}

impl<'a> From<&'a Checkup> for Diagnosis<'a> {
    fn from(checkup: &'a Checkup) -> Self {
        let cpus = checkup.possible_cpus as u64;
        Self {
            schema_version: SCHEMA_VERSION,
            version: env!("CARGO_PKG_VERSION"),
            kernel: Kernel::from(&checkup.kernel),
            possible_cpus: checkup.possible_cpus,
            machine: &checkup.facts.machine,
            era_evidence: checkup.plan.era.map(|(_, evidence)| evidence),
            lockdown: checkup.facts.lockdown.as_deref(),
            kptr_restrict: checkup.facts.kptr_restrict,
            rung: checkup.plan.rung.map(Rung::name),
            waits_for_module: checkup.plan.waits_for_module,
            probes: checkup.probes().iter().map(Probe::from).collect(),
            gaps: checkup.plan.gaps.iter().map(Gap::from).collect(),
            max_devices: checkup.max_devices,
            memory_bytes: checkup.bytes(),
            maps: checkup.maps.as_ref().map(|maps| {
                maps.iter()
                    .map(|map| Map {
                        name: &map.name,
                        entries: map.entries,
                        bytes: map.bytes(cpus),
                    })
                    .collect()
            }),
        }
    }
}
