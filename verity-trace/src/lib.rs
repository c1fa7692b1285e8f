//! Shows where dm-verity verifies each I/O, and how long each stage takes.
//!
//! Modules in the order in which data flows; each imports only from those before it, which
//! `tests/architecture.rs` holds.

pub mod error;
pub mod histogram;
pub mod cost;
pub mod budget;
pub mod target;
pub mod snapshot;
pub mod plan;
pub mod decode;
pub mod slowest;
pub mod picked;
pub mod dm;
pub mod mounts;
pub mod selection;
pub mod kernel;
pub mod disks;
pub mod inventory;
pub mod aggregate;
pub mod live;
pub mod collector;
pub mod checkup;
pub mod escape;
pub mod facts;
pub mod format;
pub mod devices;
pub mod doctor;
pub mod report;
pub mod export;
pub mod recording;
pub mod demo;
pub mod archive;
pub mod overview;
pub mod recorder;
pub mod compare;
pub mod table;
pub mod html;
pub mod parquet;
pub mod perfetto;
pub mod window;
pub mod replay;
pub mod person;
pub mod output;
pub mod tui;
pub mod cli;
