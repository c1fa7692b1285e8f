//! A recording as a film: its snapshots in time, and a player that says which one is to be seen.

mod film;
mod past;
mod player;

pub use film::Film;
pub use past::{Missing, Past};
pub use player::{Control, Playback, Player};
