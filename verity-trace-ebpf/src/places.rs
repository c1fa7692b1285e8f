//! The table of I/Os in flight as the programs use it (see the library's `table`).

use core::arch::asm;

use verity_trace_ebpf::in_flight::InFlight;
use verity_trace_ebpf::table::{self, Claimed, Keys, Set, set_of};

use crate::maps::in_flight;
use crate::memory::{Memory, opaque};

/// A place in the table that belongs to an I/O.
pub struct Place {
    key: *mut u64,
    /// The I/O's state.
    pub state: *mut InFlight,
}

/// Where a new I/O is.
pub enum Claim {
    /// A place of its own.
    New(Place),
    /// A place that its memory already had: the end of the I/O before it was not seen.
    Again(Place),
    /// No place is left.
    Full,
}

/// The keys of one set, in the map.
#[derive(Clone, Copy)]
struct InMap(*mut u64);

impl Keys for InMap {
    #[inline(always)]
    fn get(&self, way: u32) -> u64 {
        // SAFETY: the array has this many keys; another CPU may write them now.
        unsafe { self.0.add(way as usize).read_volatile() }
    }

    #[inline(always)]
    fn exchange(&self, way: u32, from: u64, to: u64) -> bool {
        // SAFETY: the array has this many keys.
        compare_and_set(unsafe { self.0.add(way as usize) }, from, to)
    }

    #[inline(always)]
    fn opaque(number: u64) -> u64 {
        opaque(number)
    }
}

/// The place of an I/O in flight.
#[inline(always)]
pub fn find<M: Memory>(io: u64) -> Option<Place> {
    let set = set::<M>(io)?;
    let way = table::find(&InMap::of(set), io)?;
    Some(Place::of(set, way))
}

/// A place for an I/O that begins.
#[inline(always)]
pub fn claim<M: Memory>(io: u64) -> Claim {
    let Some(set) = set::<M>(io) else {
        return Claim::Full;
    };
    match table::claim(&InMap::of(set), io) {
        Claimed::New(way) => Claim::New(Place::of(set, way)),
        Claimed::Again(way) => Claim::Again(Place::of(set, way)),
        Claimed::Full => Claim::Full,
    }
}

/// The set of an I/O.
#[inline(always)]
fn set<M: Memory>(io: u64) -> Option<*mut Set> {
    let sets: *mut Set = in_flight::<M>()?.cast();
    // SAFETY: the value has this many.
    Some(unsafe { sets.add(set_of(io)) })
}

impl InMap {
    #[inline(always)]
    fn of(set: *mut Set) -> Self {
        // SAFETY: a pointer to a field of a valid value.
        Self(unsafe { &raw mut (*set).keys }.cast())
    }
}

impl Place {
    #[inline(always)]
    fn of(set: *mut Set, way: u32) -> Self {
        // SAFETY: pointers to fields of a valid value and to their elements.
        unsafe {
            let states = &raw mut (*set).states;
            Self {
                key: InMap::of(set).0.add(way as usize),
                state: states.cast::<InFlight>().add(way as usize),
            }
        }
    }

    /// Gives it back: the I/O has finished.
    #[inline(always)]
    pub fn release(self) {
        // SAFETY: the state belongs to this I/O until its key says otherwise.
        unsafe { (*self.state).end() };
        table::release(&InMap(self.key), 0);
    }
}

/// Sets a word that still is `from`; returns whether it was.
#[inline(always)]
pub fn compare_and_set(word: *mut u64, from: u64, to: u64) -> bool {
    let found: u64;
    // SAFETY: callers pass a pointer into a map's value; the instruction has no other effect.
    unsafe {
        asm!(
            "r0 = cmpxchg_64({word} + 0, r0, {to})",
            word = in(reg) word,
            to = in(reg) to,
            inlateout("r0") from => found,
        );
    }
    found == from
}
