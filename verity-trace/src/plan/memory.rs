//! How much of the kernel's memory the maps take.

/// Bytes of the kernel's page, as far as a plan goes.
const PAGE: u64 = 4096;

/// What an element of a hash map takes beside its key and value (`struct htab_elem`,
/// kernel/bpf/hashtab.c), and its bucket.
const ELEMENT: u64 = 48;
const BUCKET: u64 = 16;

/// The kinds of maps that the programs have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapKind {
    /// One value for each index.
    Array,
    /// The same for each CPU.
    PerCpuArray,
    /// A hash table.
    Hash,
    /// One that forgets what was not used for long.
    LruHash,
    /// A queue.
    Queue,
    /// A ring of bytes.
    Ring,
}

/// A map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapSize {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: MapKind,
    /// Bytes of a key.
    pub key: u32,
    /// Bytes of a value.
    pub value: u32,
    /// Elements; of a ring, bytes.
    pub entries: u32,
}

impl MapSize {
    /// Bytes that it takes on a machine where so many CPUs can be.
    #[must_use]
    pub fn bytes(&self, cpus: u64) -> u64 {
        let entries = u64::from(self.entries);
        let eight = |bytes: u32| u64::from(bytes).next_multiple_of(8);
        match self.kind {
            MapKind::Array => (eight(self.value) * entries).next_multiple_of(PAGE),
            MapKind::PerCpuArray => eight(self.value) * entries * cpus,
            MapKind::Hash => {
                let element = ELEMENT + eight(self.key) + eight(self.value);
                // Per CPU one element waits to take the place of another.
                element * (entries + cpus) + BUCKET * entries.next_power_of_two()
            }
            MapKind::LruHash => {
                let element = ELEMENT + eight(self.key) + eight(self.value);
                element * entries + BUCKET * entries.next_power_of_two()
            }
            MapKind::Queue => u64::from(self.value) * (entries + 1),
            // Positions, and a page of the kernel's own.
            MapKind::Ring => entries + 3 * PAGE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpus_count_where_each_has_its_own() {
        let map = |kind, value, entries| MapSize {
            name: String::new(),
            kind,
            key: 4,
            value,
            entries,
        };
        assert_eq!(map(MapKind::Array, 12, 1).bytes(4), 4096);
        assert_eq!(map(MapKind::Array, 4096, 3).bytes(4), 3 * 4096);
        assert_eq!(map(MapKind::PerCpuArray, 12, 2).bytes(4), 16 * 2 * 4);
        assert_eq!(map(MapKind::Hash, 4, 100).bytes(4), 64 * 104 + 16 * 128);
        assert_eq!(map(MapKind::LruHash, 4, 100).bytes(4), 64 * 100 + 16 * 128);
        assert_eq!(map(MapKind::Queue, 4, 7).bytes(4), 32);
        assert_eq!(map(MapKind::Ring, 0, 8192).bytes(4), 8192 + 3 * 4096);
    }
}
