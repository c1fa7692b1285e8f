//! Columns of numbers as planes of bytes: first the lowest byte of every number, then the next, each
//! plane compressed on its own.
//!
//! The lowest bytes of a duration in nanoseconds are noise that nothing can shorten, while its highest
//! ones are few and alike: in planes of their own they compress to what they are worth.

use zstd::bulk::{Compressor, Decompressor};

use super::bytes::Bytes;
use super::fault::Malformed;

/// As it is.
const RAW: u8 = 0;
/// One byte that stands for all.
const SAME: u8 = 1;
/// Compressed by zstd.
const ZSTD: u8 = 2;

/// More would find repetitions, of which noise has none; what there is to gain is in the byte's
/// frequencies.
const LEVEL: i32 = 1;

/// Writes columns.
pub struct Writer {
    compressor: Compressor<'static>,
    plane: Vec<u8>,
    compressed: Vec<u8>,
}

impl Writer {
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            compressor: Compressor::new(LEVEL)?,
            plane: Vec::new(),
            compressed: Vec::new(),
        })
    }

    /// Adds a column: the number of its planes, and these, the lowest first.
    pub fn column(&mut self, values: &[u64], out: &mut Vec<u8>) {
        let used = values.iter().fold(0, |all, value| all | value);
        let planes = 8 - used.leading_zeros() as usize / 8;
        out.extend(u8::try_from(planes));
        for plane in 0..planes {
            let mut bytes = std::mem::take(&mut self.plane);
            bytes.clear();
            bytes.extend(values.iter().map(|value| value.to_le_bytes()[plane]));
            self.section(&bytes, out);
            self.plane = bytes;
        }
    }

    /// Adds bytes whose number the reader will know.
    pub fn section(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        if let Some((first, rest)) = bytes.split_first()
            && rest.iter().all(|byte| byte == first)
        {
            out.extend([SAME, *first]);
            return;
        }
        self.compressed.clear();
        self.compressed
            .reserve(zstd::zstd_safe::compress_bound(bytes.len()));
        let written = self
            .compressor
            .compress_to_buffer(bytes, &mut self.compressed);
        match written {
            Ok(length) if length + size_of::<u32>() < bytes.len() => {
                out.push(ZSTD);
                out.extend(u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
                out.extend(&self.compressed);
            }
            _ => {
                out.push(RAW);
                out.extend(bytes);
            }
        }
    }
}

/// Reads columns.
pub struct Reader {
    decompressor: Decompressor<'static>,
    plane: Vec<u8>,
}

impl Reader {
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            decompressor: Decompressor::new()?,
            plane: Vec::new(),
        })
    }

    /// Reads a column with one number for each place in `values`.
    pub fn column(&mut self, bytes: &mut Bytes<'_>, values: &mut [u64]) -> Result<(), Malformed> {
        values.fill(0);
        let planes = bytes.u8()?;
        if planes > 8 {
            return Err(Malformed("a number has more than 8 bytes"));
        }
        for plane in 0..planes {
            let mut section = std::mem::take(&mut self.plane);
            let read = self.section(bytes, values.len(), &mut section);
            for (value, &byte) in values.iter_mut().zip(&section) {
                *value |= u64::from(byte) << (8 * plane);
            }
            self.plane = section;
            read?;
        }
        Ok(())
    }

    /// Reads so many bytes.
    pub fn section(
        &mut self,
        bytes: &mut Bytes<'_>,
        length: usize,
        section: &mut Vec<u8>,
    ) -> Result<(), Malformed> {
        section.clear();
        match bytes.u8()? {
            RAW => section.extend(bytes.take(length)?),
            SAME => section.resize(length, bytes.u8()?),
            ZSTD => {
                let compressed = usize::try_from(bytes.u32()?).unwrap_or(usize::MAX);
                let compressed = bytes.take(compressed)?;
                section.resize(length, 0);
                let found = self
                    .decompressor
                    .decompress_to_buffer(compressed, &mut section[..]);
                if !found.is_ok_and(|found| found == length) {
                    return Err(Malformed("compressed bytes cannot be read"));
                }
            }
            _ => return Err(Malformed("bytes are stored in an unknown way")),
        }
        Ok(())
    }
}

/// A difference of either sign as a small number.
pub const fn zigzag(difference: u64) -> u64 {
    (difference << 1) ^ (difference.cast_signed() >> 63).cast_unsigned()
}

/// The difference again.
pub const fn unzigzag(number: u64) -> u64 {
    (number >> 1) ^ (number & 1).wrapping_neg()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_difference_is_read_back(difference in any::<u64>()) {
            prop_assert_eq!(unzigzag(zigzag(difference)), difference);
        }

        #[test]
        fn a_column_is_read_back(
            values in prop::collection::vec(any::<u64>(), 0..200),
            shift in 0u32..64,
        ) {
            let values: Vec<u64> = values.iter().map(|value| value >> shift).collect();
            let mut out = Vec::new();
            Writer::new().expect("a compressor").column(&values, &mut out);
            let mut found = vec![7; values.len()];
            let mut bytes = Bytes(&out);
            let mut reader = Reader::new().expect("a decompressor");
            reader.column(&mut bytes, &mut found).expect("a column");
            bytes.end().expect("nothing more");
            prop_assert_eq!(found, values);
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(0u8..4, 0..40), length in 0usize..30) {
            let mut values = vec![0; length];
            let mut reader = Reader::new().expect("a decompressor");
            let _ = reader.column(&mut Bytes(&bytes), &mut values);
        }
    }

    #[test]
    fn a_difference_of_one_is_small_either_way() {
        assert_eq!([0, 1, u64::MAX].map(zigzag), [0, 2, 1]);
    }
}
