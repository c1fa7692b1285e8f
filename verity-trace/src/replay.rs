//! A recording as a film: its snapshots in time, and a player that says which one is to be seen.

mod film;
mod player;

pub use film::Film;
pub use player::{Control, Playback, Player};
