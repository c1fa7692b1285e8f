//! Addresses from the kernel's symbol table.

use std::collections::BTreeMap;
use std::fs;

use crate::error::Result;
use crate::plan::facts::SYMBOLS;

/// The addresses of the symbols that matter: dm-verity's and nobody else's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Symbols(BTreeMap<&'static str, u64>);

impl Symbols {
    /// Reads them from the running kernel; none where it keeps no table.
    pub fn read() -> Result<Self> {
        match fs::read("/proc/kallsyms") {
            Ok(text) => Ok(Self::parse(&String::from_utf8_lossy(&text))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(anyhow::Error::new(error)
                .context("read /proc/kallsyms")
                .into()),
        }
    }

    /// The address of a symbol, 0 where the kernel hides it; absent where it lists none of this name.
    #[must_use]
    pub fn address(&self, name: &str) -> Option<u64> {
        self.0.get(name).copied()
    }

    /// Finds them in the text of `/proc/kallsyms`.
    fn parse(text: &str) -> Self {
        let mut found: BTreeMap<&str, Vec<(u64, bool)>> = BTreeMap::new();
        for line in text.lines() {
            if let Some((name, address, module)) = symbol(line)
                && module.is_none_or(|module| module == "[dm_verity]")
            {
                found
                    .entry(name)
                    .or_default()
                    .push((address, module.is_some()));
            }
        }
        // Built in, `verity_work` lies beside a function whose name nobody else has. Where that is not,
        // dm-verity is not either, and the others are ext4's.
        let Some(&(neighbour, in_module)) = found.get("verity_end_io").and_then(|it| it.first())
        else {
            return Self::default();
        };
        let nearest = |of_name: &Vec<(u64, bool)>| {
            of_name
                .iter()
                .filter(|symbol| symbol.1 == in_module)
                .map(|symbol| symbol.0)
                .min_by_key(|address| address.abs_diff(neighbour))
        };
        Self(
            SYMBOLS
                .into_iter()
                .filter_map(|name| Some((name, nearest(found.get(name)?)?)))
                .collect(),
        )
    }
}

/// Name, address and module of a line, if the name is one that matters.
fn symbol(line: &str) -> Option<(&str, u64, Option<&str>)> {
    if !line.contains("verity_") {
        return None;
    }
    let mut words = line.split_ascii_whitespace();
    let address = u64::from_str_radix(words.next()?, 16).ok()?;
    let name = words.nth(1)?;
    SYMBOLS
        .contains(&name)
        .then(|| (name, address, words.next()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_modules_verity_work_is_taken_and_not_ext4s() {
        let symbols = Symbols::parse(
            "ffffffff81000010 t verity_work\n\
             ffffffffc0300000 t verity_work\t[ext4]\n\
             ffffffffc0200000 t verity_end_io\t[dm_verity]\n\
             ffffffffc0200040 t verity_work\t[dm_verity]\n\
             ffffffffc0200080 t verity_bh_work\t[dm_verity]\n\
             ffffffffc02000c0 t verity_bh_work.cold\t[dm_verity]\n",
        );
        assert_eq!(symbols.address("verity_work"), Some(0xffff_ffff_c020_0040));
        let bh_work = symbols.address("verity_bh_work");
        assert_eq!(bh_work, Some(0xffff_ffff_c020_0080));
        assert_eq!(symbols.address("dm_verity_use_bh_bytes"), None);
    }

    #[test]
    fn built_in_the_nearest_to_verity_end_io_is_dm_veritys() {
        let symbols = Symbols::parse(
            "ffffffff81000010 t verity_work\n\
             ffffffff81900000 t verity_end_io\n\
             ffffffff81900100 t verity_work\n\
             ffffffffc0300000 t verity_work\t[ext4]\n",
        );
        assert_eq!(symbols.address("verity_work"), Some(0xffff_ffff_8190_0100));
        assert_eq!(symbols.address("verity_bh_work"), None);
    }

    #[test]
    fn ext4s_alone_is_nobody() {
        let symbols = Symbols::parse("ffffffff81000010 t verity_work\n");
        assert_eq!(symbols, Symbols::default());
    }

    #[test]
    fn hidden_addresses_are_0() {
        let symbols = Symbols::parse(
            "0000000000000000 t verity_work\t[dm_verity]\n\
             0000000000000000 t verity_end_io\t[dm_verity]\n",
        );
        assert_eq!(symbols.address("verity_work"), Some(0));
    }
}
