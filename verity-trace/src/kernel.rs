//! What the running kernel is and has: era, layout of its structures, addresses of its functions.
//!
//! Everything comes from the kernel's own BTF and symbol table, but for what nothing except the version
//! shows.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, anyhow};
use btf_rs::{Btf, BtfType as _, Type};
use verity_trace_ebpf::settings::Settings;

use crate::dm;
use crate::error::{Error, Result};
use crate::snapshot::{Era, Kernel};

const BTF_FOLDER: &str = "/sys/kernel/btf";
/// The verity target's first version that accepts `try_verify_in_tasklet` (Linux 6.0).
const KNOWS_OPTION: [u32; 3] = [1, 9, 0];
const USE_BH_BYTES: &str = "/sys/module/dm_verity/parameters/use_bh_bytes";

/// Whether `dm_verity` is there, as a module or built in.
#[must_use]
pub fn has_dm_verity() -> bool {
    Path::new("/sys/module/dm_verity").exists()
}

/// The machine, without the era.
#[must_use]
pub fn machine() -> Kernel {
    let uname = rustix::system::uname();
    Kernel {
        release: uname.release().to_string_lossy().into_owned(),
        host: uname.nodename().to_string_lossy().into_owned(),
        cpus: aya::util::online_cpus().map_or(1, |cpus| cpus.len()),
        era: None,
    }
}

/// What the option does on this kernel, without need of BTF; absent where neither the symbol table
/// nor the verity target tells.
pub fn era() -> Result<Option<Era>> {
    let Some(version) = dm::target_version()? else {
        return Ok(None);
    };
    let symbols = fs::read("/proc/kallsyms").context("read /proc/kallsyms")?;
    let has_use_bh_bytes = Path::new(USE_BH_BYTES).exists();
    Ok(era_of(
        &String::from_utf8_lossy(&symbols),
        has_use_bh_bytes,
        version,
    ))
}

/// The era by the text of `/proc/kallsyms` and the version of the verity target, which tells only
/// whether it knows the option.
fn era_of(symbols: &str, has_use_bh_bytes: bool, version: [u32; 3]) -> Option<Era> {
    let has = |name: &str| {
        symbols
            .lines()
            .any(|line| line.split_ascii_whitespace().nth(2) == Some(name))
    };
    if !has("verity_end_io") {
        return None;
    }
    Some(if has("verity_tasklet") {
        Era::Tasklet
    } else if has("verity_bh_work") {
        if has_use_bh_bytes {
            Era::Inline
        } else {
            Era::Bh
        }
    } else if version >= KNOWS_OPTION {
        Era::Inert
    } else {
        Era::NoOption
    })
}

/// The types of the kernel and of the two modules that matter here; a part that is built in is
/// found in the kernel's own.
pub struct Types {
    vmlinux: Btf,
    dm_mod: Option<Btf>,
    dm_verity: Option<Btf>,
    dm_bufio: Option<Btf>,
}

/// Where a function's type is: the id, and whether it is in the module's BTF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FunctionType {
    /// The id in BTF.
    pub id: u32,
    /// Whether that is the BTF of its module.
    pub in_module: bool,
}

impl Types {
    /// Reads them from the running kernel.
    pub fn read() -> Result<Self> {
        let folder = Path::new(BTF_FOLDER);
        let vmlinux = Btf::from_file(folder.join("vmlinux")).map_err(|error| {
            Error::Kernel(format!(
                "read {BTF_FOLDER}/vmlinux: {error}; the kernel needs CONFIG_DEBUG_INFO_BTF=y"
            ))
        })?;
        let module = |name: &str| -> Result<Option<Btf>> {
            let path = folder.join(name);
            if !path.exists() {
                return Ok(None);
            }
            let btf = Btf::from_split_file(&path, &vmlinux)
                .with_context(|| format!("read {}", path.display()))?;
            Ok(Some(btf))
        };
        let types = Self {
            dm_mod: module("dm_mod")?,
            dm_verity: module("dm_verity")?,
            dm_bufio: module("dm_bufio")?,
            vmlinux,
        };
        if offset(types.verity(), "dm_verity_io", "work").is_none() {
            return Err(Error::Kernel(format!(
                "neither {BTF_FOLDER}/dm_verity nor the kernel's own BTF describes dm-verity; the \
                 kernel needs CONFIG_DEBUG_INFO_BTF_MODULES=y"
            )));
        }
        Ok(types)
    }

    /// The kernel's tracepoint `name`.
    pub fn tracepoint(&self, name: &str) -> Result<u32> {
        let typedef = format!("btf_trace_{name}");
        id(&self.vmlinux, &typedef, |kind| {
            matches!(kind, Type::Typedef(_))
        })
        .ok_or_else(|| Error::Kernel(format!("this kernel has no tracepoint {name}")))
    }

    /// A function that the kernel lets programs call; absent when it has none of this name.
    #[must_use]
    pub fn kernel_function(&self, name: &str) -> Option<i32> {
        let id = id(&self.vmlinux, name, |kind| matches!(kind, Type::Func(_)))?;
        i32::try_from(id).ok()
    }

    /// A per-CPU variable of the kernel; absent when it has none of this name.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<i32> {
        let id = id(&self.vmlinux, name, |kind| matches!(kind, Type::Var(_)))?;
        i32::try_from(id).ok()
    }

    /// Whether it can be seen when a hash does not match: both functions for that case take the I/O as
    /// their second argument, and nothing that a program cannot be given.
    #[must_use]
    pub fn sees_mismatch(&self) -> bool {
        ["verity_recheck", "verity_fec_decode"]
            .into_iter()
            .all(|name| self.takes_io_second(name).unwrap_or(false))
    }

    fn takes_io_second(&self, name: &str) -> Option<bool> {
        let btf = self.verity();
        let Type::Func(function) = btf.resolve_type_by_id(self.function(name)?.id).ok()? else {
            return None;
        };
        let Type::FuncProto(prototype) = btf.resolve_chained_type(&function).ok()? else {
            return None;
        };
        let mut arguments = Vec::new();
        for parameter in &prototype.parameters {
            arguments.push(btf.resolve_chained_type(parameter).ok()?);
        }
        let Type::Ptr(second) = arguments.get(1)? else {
            return Some(false);
        };
        let Type::Struct(pointed_to) = btf.resolve_chained_type(second).ok()? else {
            return Some(false);
        };
        let is_io = btf.resolve_name(&pointed_to).ok()? == "dm_verity_io";
        let by_value = |argument: &Type| matches!(argument, Type::Struct(_) | Type::Union(_));
        Some(is_io && !arguments.iter().any(by_value))
    }

    /// Whether a verification in softirq can fail for want of memory: the asynchronous hash interface
    /// allocates (until Linux 6.18).
    #[must_use]
    pub fn attempts_allocate(&self) -> bool {
        ["ahash_tfm", "tfm"]
            .into_iter()
            .any(|member| offset(self.verity(), "dm_verity", member).is_some())
    }

    /// A function of dm-verity; absent when the kernel has none, or inlined it everywhere.
    #[must_use]
    pub fn function(&self, name: &str) -> Option<FunctionType> {
        let is_function = |kind: &Type| matches!(kind, Type::Func(_));
        // The module first: ext4 has functions of the same name in the kernel itself.
        if let Some(module) = &self.dm_verity {
            let id = id(module, name, is_function)?;
            return Some(FunctionType {
                id,
                in_module: true,
            });
        }
        let id = id(&self.vmlinux, name, is_function)?;
        Some(FunctionType {
            id,
            in_module: false,
        })
    }

    /// The same of dm-bufio, where the cache of hash blocks is.
    #[must_use]
    pub fn bufio_function(&self, name: &str) -> Option<FunctionType> {
        let btf = self.dm_bufio.as_ref().unwrap_or(&self.vmlinux);
        Some(FunctionType {
            id: id(btf, name, |kind| matches!(kind, Type::Func(_)))?,
            in_module: self.dm_bufio.is_some(),
        })
    }

    /// Where `dm_verity` keeps its client of dm-bufio.
    #[must_use]
    pub fn verity_bufio(&self) -> Option<u64> {
        offset(self.verity(), "dm_verity", "bufio")
    }

    /// What the option does on this kernel.
    #[must_use]
    pub fn era(&self) -> Era {
        let io = self.verity();
        if self.function("verity_tasklet").is_some() {
            Era::Tasklet
        } else if self.function("verity_bh_work").is_some() {
            if Path::new(USE_BH_BYTES).exists() {
                Era::Inline
            } else {
                Era::Bh
            }
        } else if offset(io, "dm_verity_io", "in_tasklet").is_some() {
            Era::Inert
        } else {
            Era::NoOption
        }
    }

    /// The load-time settings that follow from the layout; the caller adds its own wishes.
    pub fn settings(&self, symbols: &Symbols) -> Result<Settings> {
        let verity = self.verity();
        let dm = self.dm_mod.as_ref().unwrap_or(&self.vmlinux);
        let need = |btf: &Btf, structure: &str, member: &str| {
            offset(btf, structure, member).ok_or_else(|| {
                Error::Kernel(format!(
                    "this kernel's BTF has no {structure}.{member}, without which no I/O can be \
                     traced; please report the kernel's release"
                ))
            })
        };
        let kernel = &self.vmlinux;
        let iter = need(kernel, "bio", "bi_iter")?;
        let work = need(verity, "dm_verity_io", "work")?;
        // A kernel of the era `no-option` has neither: `in_bh` is then never set.
        let io_in_bh = offset(verity, "dm_verity_io", "in_bh")
            .or_else(|| offset(verity, "dm_verity_io", "in_tasklet"))
            .ok_or_else(|| {
                Error::Kernel(
                    "this kernel's dm-verity knows no softirq verification (before Linux 6.0), \
                     which this version cannot trace"
                        .to_owned(),
                )
            })?;
        let option_bit = ["use_bh_wq", "use_tasklet"]
            .into_iter()
            .find_map(|member| bit_offset(verity, "dm_verity", member))
            .ok_or_else(|| {
                Error::Kernel(
                    "this kernel's BTF has neither dm_verity.use_bh_wq nor dm_verity.use_tasklet, \
                     without which it cannot be told why an I/O was verified where it was; please \
                     report the kernel's release"
                        .to_owned(),
                )
            })?;
        Ok(Settings {
            bio_bdev: need(kernel, "bio", "bi_bdev")?,
            bio_private: need(kernel, "bio", "bi_private")?,
            bio_opf: need(kernel, "bio", "bi_opf")?,
            bio_ioprio: need(kernel, "bio", "bi_ioprio")?,
            bio_sector: iter + need(kernel, "bvec_iter", "bi_sector")?,
            bio_size: iter + need(kernel, "bvec_iter", "bi_size")?,
            bdev_dev: need(kernel, "block_device", "bd_dev")?,
            target_per_io_data_size: need(dm, "dm_target", "per_io_data_size")?,
            dm_io_to_bio: need(dm, "dm_io", "tio")? + need(dm, "dm_target_io", "clone")?,
            io_in_bh,
            io_work: work,
            io_bh_work: offset(verity, "dm_verity_io", "bh_work").unwrap_or(work),
            io_verity: need(verity, "dm_verity_io", "v")?,
            verity_option: option_bit / 8,
            verity_option_mask: 1 << (option_bit % 8),
            task_flags: need(kernel, "task_struct", "flags")?,
            task_comm: need(kernel, "task_struct", "comm")?,
            work_func: need(kernel, "work_struct", "func")?,
            verity_work: symbols.verity_work,
            verity_bh_work: symbols.verity_bh_work,
            use_bh_bytes: symbols.use_bh_bytes,
            is_inert: u64::from(self.era() == Era::Inert),
            gives_way: u64::from(gives_way(&machine().release)),
            can_be_inline: u64::from(self.era() == Era::Inline),
            read_ahead_mask: self.read_ahead_mask()?,
            ..Settings::ZERO
        })
    }

    fn verity(&self) -> &Btf {
        self.dm_verity.as_ref().unwrap_or(&self.vmlinux)
    }

    /// `1 << __REQ_RAHEAD` (`include/linux/blk_types.h`).
    fn read_ahead_mask(&self) -> Result<u64> {
        let btf = &self.vmlinux;
        let values = btf
            .resolve_types_by_name("req_flag_bits")
            .unwrap_or_default()
            .into_iter()
            .find_map(|kind| match kind {
                Type::Enum(values) => Some(values.members),
                _ => None,
            });
        values
            .unwrap_or_default()
            .iter()
            .find(|value| {
                btf.resolve_name(*value)
                    .is_ok_and(|name| name == "__REQ_RAHEAD")
            })
            .map(|value| 1 << value.val())
            .ok_or_else(|| {
                Error::Kernel("this kernel's BTF has no req_flag_bits.__REQ_RAHEAD".to_owned())
            })
    }
}

/// Addresses of functions; 0 where the kernel has no such function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Symbols {
    /// `verity_work` of dm-verity, not of ext4.
    pub verity_work: u64,
    /// `verity_bh_work`.
    pub verity_bh_work: u64,
    /// The array behind the parameter `use_bh_bytes`.
    pub use_bh_bytes: u64,
}

impl Symbols {
    /// Reads them from the running kernel.
    pub fn read() -> Result<Self> {
        let text = fs::read("/proc/kallsyms").context("read /proc/kallsyms")?;
        let symbols = Self::parse(&String::from_utf8_lossy(&text));
        if symbols.verity_work == 0 {
            return Err(Error::Kernel(
                "/proc/kallsyms hides the address of verity_work, without which a BH verification \
                 looks like an inline one; set kernel.kptr_restrict to 1 or 0"
                    .to_owned(),
            ));
        }
        Ok(symbols)
    }

    /// Finds them in the text of `/proc/kallsyms`.
    fn parse(text: &str) -> Self {
        let lines: Vec<&str> = text
            .lines()
            .filter(|line| line.contains(" verity_") || line.contains(" dm_verity_use_bh_bytes"))
            .collect();
        let of_name = |name: &str| -> Vec<(u64, bool)> {
            lines
                .iter()
                .filter_map(|line| {
                    let mut words = line.split_ascii_whitespace();
                    let address = u64::from_str_radix(words.next()?, 16).ok()?;
                    (words.nth(1)? == name).then(|| (address, words.next() == Some("[dm_verity]")))
                })
                .collect()
        };
        // Built in, it lies beside a function whose name nobody else has.
        let neighbour = of_name("verity_end_io").first().map_or(0, |found| found.0);
        let address = |name: &str| {
            of_name(name)
                .into_iter()
                .min_by_key(|&(address, in_module)| (!in_module, address.abs_diff(neighbour)))
                .map_or(0, |(address, _)| address)
        };
        Self {
            verity_work: address("verity_work"),
            verity_bh_work: address("verity_bh_work"),
            use_bh_bytes: address("dm_verity_use_bh_bytes"),
        }
    }
}

/// The first type of this name and kind.
fn id(btf: &Btf, name: &str, is: impl Fn(&Type) -> bool) -> Option<u32> {
    let ids = btf.resolve_ids_by_name(name).ok()?;
    ids.into_iter()
        .find(|&id| btf.resolve_type_by_id(id).is_ok_and(|kind| is(&kind)))
}

/// The offset of a member in bytes, looking into anonymous structures and unions. A module's BTF may
/// carry its own copies of a type (Linux 6.16 to 6.18); they are identical, so the first will do.
fn offset(btf: &Btf, structure: &str, member: &str) -> Option<u64> {
    bit_offset(btf, structure, member).map(|bits| bits / 8)
}

/// The same in bits.
fn bit_offset(btf: &Btf, structure: &str, member: &str) -> Option<u64> {
    let types = btf.resolve_types_by_name(structure).ok()?;
    types.into_iter().find_map(|kind| match kind {
        Type::Struct(found) => member_bits(btf, &found, member).map(u64::from),
        _ => None,
    })
}

/// Whether `verity_end_io` leaves an I/O to kverityd when the CPU has another task to run: since Linux
/// 6.16 (commit f9ed31214e2a), which nothing but the version shows.
fn gives_way(release: &str) -> bool {
    let mut numbers = release
        .split(['.', '-'])
        .map_while(|part| part.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(6), Some(16))
}

fn member_bits(btf: &Btf, structure: &btf_rs::Struct, name: &str) -> Option<u32> {
    structure.members.iter().find_map(|member| {
        let found = btf.resolve_name(member).unwrap_or_default();
        if found == name {
            return Some(member.bit_offset());
        }
        if !found.is_empty() {
            return None;
        }
        let inner = btf.resolve_type_by_id(member.get_type_id()?).ok()?;
        match inner {
            Type::Struct(inner) | Type::Union(inner) => {
                Some(member.bit_offset() + member_bits(btf, &inner, name)?)
            }
            _ => None,
        }
    })
}

/// How many CPUs could come online: the length of every per-CPU value.
pub fn possible_cpus() -> Result<usize> {
    aya::util::nr_cpus()
        .map_err(|(path, error)| anyhow!(error).context(format!("read {path}")).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_modules_verity_work_is_taken_and_not_ext4s() {
        let symbols = Symbols::parse(
            "ffffffff81000010 t verity_work\n\
             ffffffffc0300000 t verity_work\t[ext4]\n\
             ffffffffc0200040 t verity_work\t[dm_verity]\n\
             ffffffffc0200080 t verity_bh_work\t[dm_verity]\n",
        );
        assert_eq!(symbols.verity_work, 0xffff_ffff_c020_0040);
        assert_eq!(symbols.verity_bh_work, 0xffff_ffff_c020_0080);
    }

    #[test]
    fn built_in_the_nearest_to_verity_end_io_is_dm_veritys() {
        let symbols = Symbols::parse(
            "ffffffff81000010 t verity_work\n\
             ffffffff81900000 t verity_end_io\n\
             ffffffff81900100 t verity_work\n",
        );
        assert_eq!(symbols.verity_work, 0xffff_ffff_8190_0100);
        assert_eq!(symbols.verity_bh_work, 0);
    }

    #[test]
    fn the_era_is_found_without_btf() {
        let kernel = |names: &[&str]| -> String {
            let end = "0000000000000000 t verity_end_io\t[dm_verity]\n".to_owned();
            let line = |name| format!("0000000000000000 t {name}\t[dm_verity]\n");
            names.iter().map(line).fold(end, |text, it| text + &it)
        };
        let cases: [(&[&str], bool, [u32; 3], Era); 6] = [
            (&["verity_work"], false, [1, 8, 1], Era::NoOption),
            (&["verity_tasklet"], false, [1, 9, 0], Era::Tasklet),
            (&["verity_work"], false, [1, 9, 0], Era::Inert),
            (&["verity_bh_work"], false, [1, 10, 0], Era::Bh),
            (&["verity_bh_work"], true, [1, 13, 0], Era::Inline),
            (&["not_verity_bh_work"], true, [2, 0, 0], Era::Inert),
        ];
        for (names, has_use_bh_bytes, version, era) in cases {
            let found = era_of(&kernel(names), has_use_bh_bytes, version);
            assert_eq!(found, Some(era), "{names:?} {version:?}");
        }
        assert_eq!(era_of("", true, [1, 13, 0]), None);
    }

    #[test]
    fn hidden_addresses_are_0() {
        let symbols = Symbols::parse("0000000000000000 t verity_work\t[dm_verity]\n");
        assert_eq!(symbols.verity_work, 0);
    }

    #[test]
    fn the_version_tells_who_gives_way() {
        assert!(!gives_way("6.12.117+deb13-cloud-amd64"));
        assert!(!gives_way("6.15.9"));
        assert!(gives_way("6.16-rc1"));
        assert!(gives_way("7.3.4+deb13-cloud-amd64"));
        assert!(!gives_way("unknown"));
    }
}
