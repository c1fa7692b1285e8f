//! The load-time settings that follow from the facts, and what is missing for them.

use verity_trace_ebpf::settings::Settings;

use super::facts::{BH_WORKER_POOLS, Facts, IRQ_REGS};
use super::refusals::Lack;
use super::{Plan, lack};
use crate::snapshot::Era;

/// All that the last rung needs to know.
pub const WORK_FUNCTION: &str = "work_struct.func";

/// Without each of these no I/O can be traced.
const NEEDED: [&str; 17] = [
    "bio.bi_bdev",
    "bio.bi_private",
    "bio.bi_status",
    "bio.bi_opf",
    "bio.bi_ioprio",
    "bio.bi_iter",
    "bvec_iter.bi_sector",
    "bvec_iter.bi_size",
    "block_device.bd_dev",
    "task_struct.flags",
    "task_struct.comm",
    WORK_FUNCTION,
    "dm_target.per_io_data_size",
    "dm_io.tio",
    "dm_target_io.clone",
    "dm_verity_io.v",
    "dm_verity_io.work",
];

const IN_BH: [&str; 2] = ["dm_verity_io.in_bh", "dm_verity_io.in_tasklet"];
const OPTION: [&str; 2] = ["dm_verity.use_bh_wq", "dm_verity.use_tasklet"];
const BH_WORK: [&str; 2] = ["dm_verity_io.bh_work", "dm_verity_io.work"];

/// From a pool of BH workers to the work that its worker runs.
const BH_WORKERS: [&str; 3] = ["worker_pool.workers", "worker.node", "worker.current_work"];

/// Whether it can be seen which work the BH worker of a CPU runs.
pub(super) fn shows_bh_workers(facts: &Facts) -> bool {
    !facts.is_confidential()
        && facts.variables.contains(BH_WORKER_POOLS)
        && BH_WORKERS
            .iter()
            .all(|&member| facts.member(&[member]).is_some())
}

/// What is missing in the kernel's description of itself.
pub(super) fn missing(facts: &Facts) -> Vec<Lack> {
    if facts.member(&["dm_verity_io.work"]).is_none() {
        return vec![lack(
            "neither /sys/kernel/btf/dm_verity nor the kernel's own BTF describes dm-verity"
                .to_owned(),
            Some("the kernel needs CONFIG_DEBUG_INFO_BTF_MODULES=y"),
        )];
    }
    if facts.member(&IN_BH).is_none() {
        return vec![lack(
            "this kernel's dm-verity knows no softirq verification".to_owned(),
            Some("it has it since Linux 6.0"),
        )];
    }
    let mut lacks: Vec<_> = NEEDED
        .into_iter()
        .filter(|name| facts.member(&[name]).is_none())
        .map(no_member)
        .collect();
    if facts.member(&OPTION).is_none() {
        lacks.push(no_member("dm_verity.use_bh_wq"));
    }
    if facts.read_ahead_bit.is_none() {
        lacks.push(no_member("req_flag_bits.__REQ_RAHEAD"));
    }
    lacks
}

pub(super) fn no_member(name: &str) -> Lack {
    lack(
        format!("the BTF has no {name}"),
        Some("please report the kernel's release"),
    )
}

/// The settings for a plan, without addresses and what the user wishes. What the plan's rung does not
/// need may be 0.
#[must_use]
pub fn settings(facts: &Facts, plan: &Plan) -> Settings {
    let bits = |names: &[&str]| facts.member(names).unwrap_or(0);
    let bytes = |names: &[&str]| bits(names) / 8;
    let is_era = |era| plan.era.is_some_and(|(found, _)| found == era);
    let option_bit = bits(&OPTION);
    Settings {
        bio_bdev: bytes(&["bio.bi_bdev"]),
        bio_private: bytes(&["bio.bi_private"]),
        bio_status: bytes(&["bio.bi_status"]),
        bio_opf: bytes(&["bio.bi_opf"]),
        bio_ioprio: bytes(&["bio.bi_ioprio"]),
        bio_sector: bytes(&["bio.bi_iter"]) + bytes(&["bvec_iter.bi_sector"]),
        bio_size: bytes(&["bio.bi_iter"]) + bytes(&["bvec_iter.bi_size"]),
        bdev_dev: bytes(&["block_device.bd_dev"]),
        target_per_io_data_size: bytes(&["dm_target.per_io_data_size"]),
        dm_io_to_bio: bytes(&["dm_io.tio"]) + bytes(&["dm_target_io.clone"]),
        io_in_bh: bytes(&IN_BH),
        io_work: bytes(&["dm_verity_io.work"]),
        io_bh_work: bytes(&BH_WORK),
        io_verity: bytes(&["dm_verity_io.v"]),
        verity_option: option_bit / 8,
        verity_option_mask: 1 << (option_bit % 8),
        task_flags: bytes(&["task_struct.flags"]),
        task_comm: bytes(&["task_struct.comm"]),
        task_softirq_count: bytes(&["task_struct.softirq_disable_cnt"]),
        work_func: bytes(&[WORK_FUNCTION]),
        has_bh_worker_pools: u64::from(shows_bh_workers(facts)),
        pool_workers: bytes(&BH_WORKERS[..1]),
        worker_node: bytes(&BH_WORKERS[1..2]),
        worker_current_work: bytes(&BH_WORKERS[2..]),
        is_inert: u64::from(is_era(Era::Inert)),
        gives_way: u64::from(facts.gives_way()),
        can_be_inline: u64::from(is_era(Era::Inline)),
        read_ahead_mask: facts.read_ahead_bit.map_or(0, |bit| 1 << bit),
        sees_mismatch: u64::from(plan.sees_mismatch()),
        has_irq_regs: u64::from(facts.variables.contains(IRQ_REGS)),
        ..Settings::ZERO
    }
}

/// Whether the programs can read `use_bh_bytes` as the kernel has it.
#[must_use]
pub fn reads_limits(facts: &Facts) -> bool {
    super::lack_of_limits(facts).is_none()
}
