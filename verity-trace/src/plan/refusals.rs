//! What a kernel refuses although its facts allow it.

use std::collections::BTreeMap;

use super::Plan;
use crate::snapshot::{Probe, ProbeKind};

/// What to do where a function carries as many programs as it can.
pub const MAKE_ROOM: &str = "end another tracer of dm-verity to make room";

/// What the kernel refused in spite of the facts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusals(BTreeMap<(&'static str, ProbeKind), Lack>);

/// What a kernel lacks, and how to get it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lack {
    pub why: String,
    pub remedy: Option<&'static str>,
}

/// A hook of a plan that the kernel refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Its probe.
    pub probe: Probe,
    /// Whether its function carries as many programs as it can.
    pub is_full: bool,
    /// What the kernel said.
    pub sentence: String,
}

impl Refusals {
    /// Takes in what happened to a plan. Where a function is full, an optional probe gives its place
    /// to one that the rung needs.
    pub fn add(&mut self, plan: &Plan, refusal: Refusal) {
        let refused = refusal.probe;
        let gives_way = plan.hooks.iter().find(|hook| {
            refusal.is_full && hook.is_optional && hook.probe.target == refused.target
        });
        let probe = gives_way.map_or(refused, |hook| hook.probe);
        let remedy = refusal.is_full.then_some(MAKE_ROOM);
        let lack = Lack {
            why: refusal.sentence,
            remedy,
        };
        self.0.insert((probe.name, probe.kind), lack);
    }

    pub(super) fn of(&self, probe: &Probe) -> Option<Lack> {
        self.0.get(&(probe.name, probe.kind)).cloned()
    }
}
