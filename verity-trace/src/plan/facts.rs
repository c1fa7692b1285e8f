//! What is known of a kernel before anything is attached to it: plain data, the same from a running
//! kernel and from a file.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::snapshot::Era;

/// The verity target's first version that accepts `try_verify_in_tasklet` (Linux 6.0).
const KNOWS_OPTION: [u32; 3] = [1, 9, 0];

/// The facts that decide how a kernel can be watched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// `uname -r`.
    pub release: String,
    /// `uname -m`.
    pub machine: String,
    /// Where dm-verity is.
    pub dm_verity: Presence,
    /// The version of the target `verity`; absent when device-mapper does not know it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_version: Option<[u32; 3]>,
    /// Whether dm-verity has the parameter `use_bh_bytes`.
    pub has_use_bh_bytes: bool,
    /// Whether perf can make kprobes.
    pub has_kprobes: bool,
    /// `/sys/kernel/security/lockdown`; absent when that is not there or not mounted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lockdown: Option<String>,
    /// `kernel.kptr_restrict`; absent when it cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kptr_restrict: Option<u32>,
    /// How far tasks can be preempted inside the kernel: `none`, `voluntary`, `lazy`, `full` or `rt`;
    /// absent when the kernel does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preemption: Option<String>,
    /// Which BTF there is.
    pub btf: BtfFiles,
    /// The symbols of [`SYMBOLS`] that the kernel lists.
    pub symbols: BTreeMap<String, Address>,
    /// The functions of [`FUNCTIONS`] in dm-verity's BTF, with the types of their arguments: `*NAME`
    /// for a pointer to a structure, `struct NAME` for one by value, `*` for another pointer, else
    /// `number`.
    pub functions: BTreeMap<String, Vec<String>>,
    /// The tracepoints of [`TRACEPOINTS`] in the kernel's BTF.
    pub tracepoints: BTreeSet<String>,
    /// The functions of [`KERNEL_FUNCTIONS`] in the kernel's BTF.
    pub kernel_functions: BTreeSet<String>,
    /// The variables of [`VARIABLES`] in the kernel's BTF.
    pub variables: BTreeSet<String>,
    /// The offsets, in bits, of the members of [`MEMBERS`] that there are, by `STRUCTURE.MEMBER`.
    pub members: BTreeMap<String, u64>,
    /// `__REQ_RAHEAD`, the number of the bit (`include/linux/blk_types.h`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_ahead_bit: Option<u32>,
}

/// Where dm-verity is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Presence {
    /// Not in the kernel, or not yet.
    Absent,
    /// A module.
    Module,
    /// A part of the kernel itself.
    BuiltIn,
}

/// Which BTF there is under `/sys/kernel/btf`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BtfFiles {
    /// The kernel's own.
    pub vmlinux: bool,
    /// Of the module `dm_mod`.
    pub dm_mod: bool,
    /// Of the module `dm_verity`.
    pub dm_verity: bool,
}

/// Whether the kernel tells the address of a symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Address {
    /// It does.
    Shown,
    /// It lists the symbol with the address 0.
    Hidden,
}

/// Whose BTF describes a structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The kernel itself.
    Kernel,
    /// `dm_mod`, where that is a module.
    DeviceMapper,
    /// `dm_verity`, where that is a module.
    Verity,
}

/// Symbols that matter; in `/proc/kallsyms`.
pub const SYMBOLS: [&str; 8] = [
    "verity_map",
    "verity_end_io",
    "verity_verify_io",
    "verity_finish_io",
    "verity_work",
    "verity_bh_work",
    "verity_tasklet",
    LIMITS,
];

/// The array behind the parameter `use_bh_bytes`.
pub const LIMITS: &str = "dm_verity_use_bh_bytes";

/// dm-verity's functions that matter.
pub const FUNCTIONS: [&str; 8] = [
    "verity_map",
    "verity_end_io",
    "verity_verify_io",
    "verity_finish_io",
    "verity_recheck",
    "verity_fec_decode",
    "verity_bh_work",
    "verity_tasklet",
];

/// Tracepoints that matter.
pub const TRACEPOINTS: [&str; 4] = [
    "softirq_entry",
    "softirq_exit",
    "workqueue_queue_work",
    "workqueue_execute_start",
];

/// What the programs call where the kernel has all four (Linux 6.14).
pub const PREEMPTION_FUNCTIONS: [&str; 4] = [
    "bpf_preempt_disable",
    "bpf_preempt_enable",
    "bpf_local_irq_save",
    "bpf_local_irq_restore",
];

/// By which a trampoline takes the place of a call of ftrace's (`kernel/bpf/trampoline.c`). It is there
/// with `CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS` alone.
pub const DIRECT_CALLS: &str = "register_ftrace_direct";

/// The kernel's own functions that matter.
pub const KERNEL_FUNCTIONS: [&str; 5] = [
    DIRECT_CALLS,
    PREEMPTION_FUNCTIONS[0],
    PREEMPTION_FUNCTIONS[1],
    PREEMPTION_FUNCTIONS[2],
    PREEMPTION_FUNCTIONS[3],
];

/// The registers of the interrupt that a CPU handles (`lib/irq_regs.c`).
pub const IRQ_REGS: &str = "__irq_regs";

/// The pools of the workers that run BH works, one array for each CPU (`kernel/workqueue.c`, since Linux
/// 6.9).
pub const BH_WORKER_POOLS: &str = "bh_worker_pools";

/// Per-CPU variables that matter.
pub const VARIABLES: [&str; 2] = [IRQ_REGS, BH_WORKER_POOLS];

/// Members of structures that matter.
pub const MEMBERS: [(Part, &str, &str); 26] = [
    (Part::Kernel, "bio", "bi_bdev"),
    (Part::Kernel, "bio", "bi_private"),
    (Part::Kernel, "bio", "bi_status"),
    (Part::Kernel, "bio", "bi_opf"),
    (Part::Kernel, "bio", "bi_ioprio"),
    (Part::Kernel, "bio", "bi_iter"),
    (Part::Kernel, "bvec_iter", "bi_sector"),
    (Part::Kernel, "bvec_iter", "bi_size"),
    (Part::Kernel, "block_device", "bd_dev"),
    (Part::Kernel, "task_struct", "flags"),
    (Part::Kernel, "task_struct", "comm"),
    (Part::Kernel, "task_struct", "softirq_disable_cnt"),
    (Part::Kernel, "work_struct", "func"),
    (Part::Kernel, "worker_pool", "workers"),
    (Part::Kernel, "worker", "node"),
    (Part::Kernel, "worker", "current_work"),
    (Part::DeviceMapper, "dm_target", "per_io_data_size"),
    (Part::DeviceMapper, "dm_io", "tio"),
    (Part::DeviceMapper, "dm_target_io", "clone"),
    (Part::Verity, "dm_verity_io", "v"),
    (Part::Verity, "dm_verity_io", "work"),
    (Part::Verity, "dm_verity_io", "bh_work"),
    (Part::Verity, "dm_verity_io", "in_bh"),
    (Part::Verity, "dm_verity_io", "in_tasklet"),
    (Part::Verity, "dm_verity", "use_bh_wq"),
    (Part::Verity, "dm_verity", "use_tasklet"),
];

impl Facts {
    /// What the option does on this kernel, and by what that is known; absent while dm-verity is not
    /// there.
    #[must_use]
    pub fn era(&self) -> Option<(Era, &'static str)> {
        let has = |name: &str| self.functions.contains_key(name) || self.symbols.contains_key(name);
        let knows_option = self.member(&["dm_verity_io.in_tasklet"]).is_some()
            || self
                .target_version
                .is_some_and(|version| version >= KNOWS_OPTION);
        if self.dm_verity == Presence::Absent || !has("verity_end_io") {
            None
        } else if has("verity_tasklet") {
            Some((Era::Tasklet, "there is verity_tasklet"))
        } else if has("verity_bh_work") && self.has_use_bh_bytes {
            Some((
                Era::Inline,
                "there are verity_bh_work and the parameter use_bh_bytes",
            ))
        } else if has("verity_bh_work") {
            Some((
                Era::Bh,
                "there is verity_bh_work, and no parameter use_bh_bytes",
            ))
        } else if knows_option {
            Some((
                Era::Inert,
                "the target knows the option, and there is neither verity_tasklet nor \
                 verity_bh_work",
            ))
        } else {
            Some((Era::NoOption, "the target does not know the option"))
        }
    }

    /// The offset in bits of the first of these members that there is.
    #[must_use]
    pub fn member(&self, names: &[&str]) -> Option<u64> {
        names
            .iter()
            .find_map(|&name| self.members.get(name))
            .copied()
    }

    /// Whether the kernel tells the address of this symbol.
    #[must_use]
    pub fn shows(&self, symbol: &str) -> bool {
        self.symbols.get(symbol) == Some(&Address::Shown)
    }

    /// Whether lockdown keeps the kernel's memory from everybody.
    #[must_use]
    pub fn is_confidential(&self) -> bool {
        self.lockdown.as_deref() == Some("confidentiality")
    }

    /// Whether programs can keep their task from being preempted.
    #[must_use]
    pub fn can_hold_preemption(&self) -> bool {
        PREEMPTION_FUNCTIONS
            .iter()
            .all(|&name| self.kernel_functions.contains(name))
    }

    /// Whether a task can be preempted inside a program: there migration is off, and preemption is not.
    #[must_use]
    pub fn can_be_preempted(&self) -> bool {
        !matches!(self.preemption.as_deref(), Some("none" | "voluntary"))
    }

    /// Whether it handles interrupts and softirqs in threads (`PREEMPT_RT`).
    #[must_use]
    pub fn is_real_time(&self) -> bool {
        self.preemption.as_deref() == Some("rt")
    }

    /// Whether it leaves an I/O to kverityd when the CPU has another task to run: since Linux 6.16
    /// (commit f9ed31214e2a), which nothing but the version shows.
    #[must_use]
    pub fn gives_way(&self) -> bool {
        let mut numbers = self
            .release
            .split(['.', '-'])
            .map_while(|part| part.parse::<u32>().ok());
        (numbers.next(), numbers.next()) >= (Some(6), Some(16))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts {
            release: String::new(),
            machine: "x86_64".to_owned(),
            dm_verity: Presence::Module,
            target_version: None,
            has_use_bh_bytes: false,
            has_kprobes: true,
            lockdown: None,
            kptr_restrict: None,
            preemption: None,
            btf: BtfFiles::default(),
            symbols: BTreeMap::new(),
            functions: BTreeMap::new(),
            tracepoints: BTreeSet::new(),
            kernel_functions: BTreeSet::new(),
            variables: BTreeSet::new(),
            members: BTreeMap::new(),
            read_ahead_bit: None,
        }
    }

    #[test]
    fn the_era_is_found_without_btf() {
        let cases: [(&[&str], bool, [u32; 3], Era); 6] = [
            (&["verity_work"], false, [1, 8, 1], Era::NoOption),
            (&["verity_tasklet"], false, [1, 9, 0], Era::Tasklet),
            (&["verity_work"], false, [1, 9, 0], Era::Inert),
            (&["verity_bh_work"], false, [1, 10, 0], Era::Bh),
            (&["verity_bh_work"], true, [1, 13, 0], Era::Inline),
            (&["not_verity_bh_work"], true, [2, 0, 0], Era::Inert),
        ];
        for (names, has_use_bh_bytes, version, era) in cases {
            let listed = names.iter().chain(&["verity_end_io"]);
            let facts = Facts {
                has_use_bh_bytes,
                target_version: Some(version),
                symbols: listed
                    .map(|&name| (name.to_owned(), Address::Hidden))
                    .collect(),
                ..facts()
            };
            let found = facts.era().map(|(era, _)| era);
            assert_eq!(found, Some(era), "{names:?} {version:?}");
        }
        assert_eq!(facts().era(), None);
    }

    #[test]
    fn without_a_symbol_table_btf_tells_the_era() {
        let in_btf = |name: &str| (name.to_owned(), Vec::new());
        let mut facts = Facts {
            functions: BTreeMap::from([in_btf("verity_end_io")]),
            members: BTreeMap::from([("dm_verity_io.in_tasklet".to_owned(), 416)]),
            ..facts()
        };
        assert_eq!(facts.era().map(|(era, _)| era), Some(Era::Inert));
        facts.functions.extend([in_btf("verity_bh_work")]);
        assert_eq!(facts.era().map(|(era, _)| era), Some(Era::Bh));
    }

    #[test]
    fn the_version_tells_who_gives_way() {
        let gives_way = |release: &str| {
            let release = release.to_owned();
            Facts { release, ..facts() }.gives_way()
        };
        assert!(!gives_way("6.12.117+deb13-cloud-amd64"));
        assert!(!gives_way("6.15.9"));
        assert!(gives_way("6.16-rc1"));
        assert!(gives_way("7.3.4+deb13-cloud-amd64"));
        assert!(!gives_way("unknown"));
    }
}
