//! The kernel's own description of its types: BTF.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use btf_rs::{Btf, BtfType as _, Type};

use crate::error::Result;
use crate::plan::facts::Part;

const FOLDER: &str = "/sys/kernel/btf";

/// By which a program makes a pointer of an address (Linux 6.2).
pub const CAST: &str = "bpf_rdonly_cast";

/// Whether the kernel describes this part of itself.
#[must_use]
pub fn has_btf(name: &str) -> bool {
    Path::new(FOLDER).join(name).exists()
}

/// Parses one part. The parser asks where it is after every type, which for a file is a system call.
fn read(name: &str, parse: impl FnOnce(&[u8]) -> btf_rs::Result<Btf>) -> anyhow::Result<Btf> {
    let path = Path::new(FOLDER).join(name);
    let parsed = fs::read(&path).map_err(anyhow::Error::from);
    parsed
        .and_then(|bytes| Ok(parse(&bytes)?))
        .with_context(|| format!("read {}", path.display()))
}

/// The types of the kernel and of the modules that matter here; a part that is built in is
/// found in the kernel's own.
#[derive(Default)]
pub struct Types {
    vmlinux: Option<Btf>,
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
    /// Reads them from the running kernel, as far as it has them.
    pub fn read() -> Result<Self> {
        if !has_btf("vmlinux") {
            return Ok(Self::default());
        }
        let vmlinux = read("vmlinux", Btf::from_bytes)?;
        let module = |name: &str| {
            has_btf(name)
                .then(|| read(name, |bytes| Btf::from_split_bytes(bytes, &vmlinux)))
                .transpose()
        };
        Ok(Self {
            dm_mod: module("dm_mod")?,
            dm_verity: module("dm_verity")?,
            dm_bufio: module("dm_bufio")?,
            vmlinux: Some(vmlinux),
        })
    }

    /// The id of the kernel's tracepoint `name`; absent when it has none.
    #[must_use]
    pub fn tracepoint(&self, name: &str) -> Option<u32> {
        let typedef = format!("btf_trace_{name}");
        id(self.vmlinux.as_ref()?, &typedef, |kind| {
            matches!(kind, Type::Typedef(_))
        })
    }

    /// The id of a function of the kernel's own; absent when it has none of this name.
    #[must_use]
    pub fn kernel_function(&self, name: &str) -> Option<u32> {
        id(self.vmlinux.as_ref()?, name, |kind| {
            matches!(kind, Type::Func(_))
        })
    }

    /// The id of a per-CPU variable of the kernel; absent when it has none of this name.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<u32> {
        id(self.vmlinux.as_ref()?, name, |kind| {
            matches!(kind, Type::Var(_))
        })
    }

    /// The id of a structure that an address can be cast to; absent where programs cannot cast.
    #[must_use]
    pub fn cast_type(&self, name: &str) -> Option<u32> {
        self.kernel_function(CAST)?;
        id(self.vmlinux.as_ref()?, name, |kind| {
            matches!(kind, Type::Struct(_))
        })
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
        let id = id(self.vmlinux.as_ref()?, name, is_function)?;
        Some(FunctionType {
            id,
            in_module: false,
        })
    }

    /// A function of dm-bufio, where the cache of hash blocks is.
    #[must_use]
    pub fn bufio_function(&self, name: &str) -> Option<FunctionType> {
        let btf = self.dm_bufio.as_ref().or(self.vmlinux.as_ref())?;
        Some(FunctionType {
            id: id(btf, name, |kind| matches!(kind, Type::Func(_)))?,
            in_module: self.dm_bufio.is_some(),
        })
    }

    /// The types of a dm-verity function's arguments, in the words of `Facts::functions`.
    #[must_use]
    pub fn arguments(&self, name: &str) -> Option<Vec<String>> {
        let btf = self.of(Part::Verity)?;
        let Type::Func(function) = btf.resolve_type_by_id(self.function(name)?.id).ok()? else {
            return None;
        };
        let Type::FuncProto(prototype) = btf.resolve_chained_type(&function).ok()? else {
            return None;
        };
        prototype
            .parameters
            .iter()
            .map(|parameter| {
                let kind = plain(btf, btf.resolve_chained_type(parameter).ok()?)?;
                argument(btf, &kind)
            })
            .collect()
    }

    /// The offset of a member in bits, looking into anonymous structures and unions. A module's BTF may
    /// carry its own copies of a type (Linux 6.16 to 6.18); they are identical, so the first will do.
    #[must_use]
    pub fn member(&self, part: Part, structure: &str, member: &str) -> Option<u64> {
        let btf = self.of(part)?;
        let types = btf.resolve_types_by_name(structure).ok()?;
        types.into_iter().find_map(|kind| match kind {
            Type::Struct(found) => member_bits(btf, &found, member).map(u64::from),
            _ => None,
        })
    }

    /// The value of a name in an enumeration of the kernel's own.
    #[must_use]
    pub fn enumerator(&self, enumeration: &str, name: &str) -> Option<u32> {
        let btf = self.vmlinux.as_ref()?;
        let types = btf.resolve_types_by_name(enumeration).ok()?;
        let values = types.into_iter().find_map(|kind| match kind {
            Type::Enum(values) => Some(values.members),
            _ => None,
        })?;
        let value = values
            .iter()
            .find(|value| btf.resolve_name(*value).is_ok_and(|found| found == name))?;
        Some(value.val())
    }

    fn of(&self, part: Part) -> Option<&Btf> {
        let module = match part {
            Part::Kernel => &None,
            Part::DeviceMapper => &self.dm_mod,
            Part::Verity => &self.dm_verity,
        };
        module.as_ref().or(self.vmlinux.as_ref())
    }
}

/// The first type of this name and kind.
fn id(btf: &Btf, name: &str, is: impl Fn(&Type) -> bool) -> Option<u32> {
    let ids = btf.resolve_ids_by_name(name).ok()?;
    ids.into_iter()
        .find(|&id| btf.resolve_type_by_id(id).is_ok_and(|kind| is(&kind)))
}

/// The type behind names and qualifiers.
fn plain(btf: &Btf, mut kind: Type) -> Option<Type> {
    loop {
        kind = match &kind {
            Type::Typedef(it) => btf.resolve_chained_type(it).ok()?,
            Type::Const(it) | Type::Volatile(it) | Type::Restrict(it) => {
                btf.resolve_chained_type(it).ok()?
            }
            _ => return Some(kind),
        }
    }
}

fn argument(btf: &Btf, kind: &Type) -> Option<String> {
    Some(match kind {
        Type::Ptr(pointer) => {
            let pointed_to = btf
                .resolve_chained_type(pointer)
                .ok()
                .and_then(|kind| plain(btf, kind));
            match pointed_to {
                Some(Type::Struct(it)) => format!("*{}", btf.resolve_name(&it).ok()?),
                _ => "*".to_owned(),
            }
        }
        Type::Struct(it) | Type::Union(it) => format!("struct {}", btf.resolve_name(it).ok()?),
        _ => "number".to_owned(),
    })
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
