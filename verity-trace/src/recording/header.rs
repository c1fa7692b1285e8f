//! The first bytes of a recording: what it is, and what its clocks said.

use super::bytes::Bytes;
use super::fault::What;

/// What a recording begins with. The first byte is in no text, and the last two show a transfer that
/// changed line ends.
pub const MAGIC: [u8; 8] = *b"\x89vtrec\r\n";

/// As little-endian bytes it reads 1, 2, 3, 4.
const BYTE_ORDER: u32 = 0x0403_0201;

/// The clocks at one moment, in nanoseconds: what relates them to each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// `CLOCK_REALTIME`, since the Unix epoch.
    pub realtime_ns: u64,
    /// `CLOCK_MONOTONIC`, which I/Os are timed by.
    pub monotonic_ns: u64,
    /// `CLOCK_BOOTTIME`, which goes on in suspend.
    pub boottime_ns: u64,
}

impl Header {
    /// Bytes that it takes.
    pub const BYTES: usize = 64;

    /// Its bytes.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&BYTE_ORDER.to_le_bytes());
        bytes[12..14].copy_from_slice(&super::VERSION.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.realtime_ns.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.monotonic_ns.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.boottime_ns.to_le_bytes());
        let checksum = crc32fast::hash(&bytes[..60]);
        bytes[60..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads it from the first bytes of a file, as many as there are.
    pub fn read(file: &[u8]) -> Result<Self, What> {
        if file.is_empty() {
            return Err(What::Empty);
        }
        let magic = &MAGIC[..MAGIC.len().min(file.len())];
        if !file.starts_with(magic) {
            return Err(What::NotARecording);
        }
        let Some(header) = file.first_chunk::<{ Self::BYTES }>() else {
            return Err(What::HeaderCut);
        };
        let mut bytes = Bytes(header);
        bytes.take(MAGIC.len())?;
        let order = bytes.u32()?;
        let version = bytes.u16()?;
        bytes.take(2)?;
        // Neither is covered by a checksum that another order or version need have.
        if order == BYTE_ORDER.swap_bytes() {
            return Err(What::ByteOrder);
        }
        let (said, checksum) = header.split_at(60);
        let fits = Bytes(checksum).u32()? == crc32fast::hash(said);
        if fits && version != super::VERSION {
            return Err(What::Version(version));
        }
        if !fits || order != BYTE_ORDER {
            return Err(What::Header);
        }
        Ok(Self {
            realtime_ns: bytes.u64()?,
            monotonic_ns: bytes.u64()?,
            boottime_ns: bytes.u64()?,
        })
    }

    /// What `CLOCK_REALTIME` said when `CLOCK_MONOTONIC` said this, unless somebody set it meanwhile.
    #[must_use]
    pub const fn realtime_at(&self, monotonic_ns: u64) -> u64 {
        self.realtime_ns
            .wrapping_add(monotonic_ns.wrapping_sub(self.monotonic_ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: Header = Header {
        realtime_ns: 1_795_000_000_000_000_000,
        monotonic_ns: 12_345_678_901,
        boottime_ns: 98_765_432_109,
    };

    fn refused(bytes: &[u8]) -> What {
        Header::read(bytes).expect_err("no header")
    }

    #[test]
    fn it_is_read_back() {
        let bytes = HEADER.to_bytes();
        assert_eq!(Header::read(&bytes).expect("a header"), HEADER);
    }

    #[test]
    fn every_byte_counts() {
        for at in 0..Header::BYTES {
            let mut bytes = HEADER.to_bytes();
            bytes[at] ^= 0xff;
            let what = refused(&bytes);
            let expected = if at < MAGIC.len() {
                matches!(what, What::NotARecording)
            } else {
                matches!(what, What::Header)
            };
            assert!(expected, "byte {at}: {what}");
        }
    }

    #[test]
    fn it_is_cut_empty_or_something_else() {
        let bytes = HEADER.to_bytes();
        assert!(matches!(refused(&[]), What::Empty));
        for length in 1..Header::BYTES {
            assert!(matches!(refused(&bytes[..length]), What::HeaderCut));
        }
        assert!(matches!(refused(&[0; 100]), What::NotARecording));
        assert!(matches!(refused(b"{}"), What::NotARecording));
    }

    #[test]
    fn another_byte_order_and_another_version_are_called_so() {
        let mut bytes = HEADER.to_bytes();
        bytes[8..12].reverse();
        assert!(matches!(refused(&bytes), What::ByteOrder));
        let mut bytes = HEADER.to_bytes();
        bytes[12] = 2;
        let checksum = crc32fast::hash(&bytes[..60]);
        bytes[60..].copy_from_slice(&checksum.to_le_bytes());
        assert!(matches!(refused(&bytes), What::Version(2)));
    }
}
