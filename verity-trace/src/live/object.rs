//! The file of the kernel programs, with the load-time settings in it.

use anyhow::{Context as _, ensure};
use object::{Object as _, ObjectSection as _, SectionKind};
use verity_trace_ebpf::settings::{FIRST_SETTING, Settings};

/// `BPF_LD | BPF_IMM | BPF_DW`, include/uapi/linux/bpf.h.
pub const LOAD_IMMEDIATE: u8 = 0x18;

/// Bytes of an instruction. The load of a number of 64 bits takes two.
const INSTRUCTION: usize = 8;

/// The programs with these settings: the verifier sees each as a constant.
pub fn with_settings(programs: &[u8], settings: Settings) -> anyhow::Result<Vec<u8>> {
    let settings: [u64; size_of::<Settings>() / size_of::<u64>()] = bytemuck::cast(settings);
    let mut bytes = programs.to_vec();
    let mut found = 0;
    let file = object::File::parse(programs).context("parse the kernel programs")?;
    for section in file.sections().filter(|it| it.kind() == SectionKind::Text) {
        let Some((start, length)) = section.file_range() else {
            continue;
        };
        let (start, length) = (usize::try_from(start)?, usize::try_from(length)?);
        let code = bytes
            .get_mut(start..start + length)
            .context("a section ends after the kernel programs")?;
        found += set_in(code, &settings);
    }
    ensure!(found > 0, "the kernel programs have no settings");
    Ok(bytes)
}

/// Puts settings into the instructions of a section, which have this machine's byte order; returns how many.
fn set_in(code: &mut [u8], settings: &[u64]) -> usize {
    let mut found = 0;
    let mut at = 0;
    while let Some(load) = code.get_mut(at..at + 2 * INSTRUCTION) {
        at += INSTRUCTION;
        if load[0] != LOAD_IMMEDIATE {
            continue;
        }
        // The second half is no instruction of its own.
        at += INSTRUCTION;
        let low = i32::from_ne_bytes([load[4], load[5], load[6], load[7]]);
        let number = low.checked_sub(FIRST_SETTING).map(usize::try_from);
        if let Some(Ok(number)) = number
            && let Some(setting) = settings.get(number)
        {
            let [low, high] = [*setting & u64::from(u32::MAX), *setting >> 32];
            for (half, at) in [(low, 4), (high, 12)] {
                let half = u32::try_from(half).unwrap_or(0);
                load[at..at + 4].copy_from_slice(&half.to_ne_bytes());
            }
            found += 1;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(low: u32, high: u32) -> Vec<u8> {
        let mut code = vec![LOAD_IMMEDIATE, 1, 0, 0];
        code.extend(low.to_ne_bytes());
        code.extend([0; 4]);
        code.extend(high.to_ne_bytes());
        code
    }

    #[test]
    fn a_setting_takes_the_place_of_its_number_alone() {
        let first = FIRST_SETTING.cast_unsigned();
        let other = [0xb7, 0, 0, 0, 1, 0, 0xfe, 0x7f];
        let mut code = [
            load(first + 1, 0),
            other.to_vec(),
            load(7, 0),
            load(first + 2, 0),
        ]
        .concat();
        assert_eq!(set_in(&mut code, &[5, 0x1234_5678_9abc_def0]), 1);
        let expected = [
            load(0x9abc_def0, 0x1234_5678),
            other.to_vec(),
            load(7, 0),
            load(first + 2, 0),
        ];
        assert_eq!(code, expected.concat());
    }
}
