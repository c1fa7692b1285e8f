//! How large the maps are: what depends on the machine, the user and the rung.

use anyhow::Context as _;
use aya_obj::generated::bpf_map_type;
use aya_obj::{Map, Object};
use verity_trace_ebpf::counters::totals_index;
use verity_trace_ebpf::hash_cache::{MAX_CLIENTS, MAX_READS};
use verity_trace_ebpf::queue_counters::MAX_WORKERS;
use verity_trace_ebpf::settings::MAX_SHARDS;
use verity_trace_ebpf::submitters::MAX_SUBMITTERS;
use verity_trace_ebpf::table::MAX_IN_FLIGHT;

use super::optional::View;
use super::{OBJECT, Options, built};
use crate::error::Result;
use crate::kernel;
use crate::plan::memory::{MapKind, MapSize};
use crate::snapshot::Rung;

/// How many devices have a slot of their own; where I/Os are not seen, one that stays empty.
#[must_use]
pub const fn devices(max_devices: u32, rung: Rung) -> u32 {
    match rung {
        Rung::Fentry | Rung::Kprobe => max_devices,
        Rung::Tracepoint => 1,
    }
}

/// The maps whose size is not the programs' own, with their numbers of elements.
#[must_use]
pub fn entries(
    max_devices: u32,
    shards: u32,
    rung: Rung,
    views: &[View],
) -> [(&'static str, u32); 13] {
    let devices = devices(max_devices, rung);
    let slots = devices + 1;
    let queued = match rung {
        Rung::Fentry | Rung::Kprobe => 1,
        Rung::Tracepoint => MAX_IN_FLIGHT,
    };
    // No map can have none.
    let asked = |view, entries| if views.contains(&view) { entries } else { 1 };
    [
        ("DEVICES", devices),
        ("FREE_SLOTS", devices),
        ("TOTALS", totals_index(slots, 0, shards)),
        ("FIRST_FAILURES", slots),
        ("DEVICE_LOSSES", slots),
        ("QUEUED", queued),
        ("HASH_CACHE", asked(View::HashCache, slots)),
        ("CLIENTS", asked(View::HashCache, MAX_CLIENTS)),
        ("READS", asked(View::HashCache, MAX_READS)),
        ("QUEUE_WAITS", asked(View::Queues, slots)),
        ("WORKERS", asked(View::Queues, MAX_WORKERS)),
        ("SUBMITTERS", asked(View::Submitters, MAX_SUBMITTERS)),
        ("UNLISTED", asked(View::Submitters, slots)),
    ]
}

/// Every map as it is created on this machine.
pub fn planned(options: Options, rung: Rung) -> Result<Vec<MapSize>> {
    built()?;
    let cpus = u32::try_from(kernel::possible_cpus()?).context("count the CPUs")?;
    let shards = cpus.next_power_of_two().min(MAX_SHARDS);
    let object = Object::parse(OBJECT).context("parse the kernel programs")?;
    let entries = entries(options.max_devices, shards, rung, &options.views(rung));
    let mut maps = Vec::new();
    for (name, map) in &object.maps {
        let mut size =
            size(name, map).with_context(|| format!("the map {name} is of an unknown kind"))?;
        if let Some((_, entries)) = entries.iter().find(|(map, _)| map == name) {
            size.entries = *entries;
        }
        maps.push(size);
    }
    maps.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(maps)
}

/// Absent for a kind of map that is not known here.
fn size(name: &str, map: &Map) -> Option<MapSize> {
    let kinds = [
        (bpf_map_type::BPF_MAP_TYPE_ARRAY, MapKind::Array),
        (
            bpf_map_type::BPF_MAP_TYPE_PERCPU_ARRAY,
            MapKind::PerCpuArray,
        ),
        (bpf_map_type::BPF_MAP_TYPE_HASH, MapKind::Hash),
        (bpf_map_type::BPF_MAP_TYPE_LRU_HASH, MapKind::LruHash),
        (bpf_map_type::BPF_MAP_TYPE_QUEUE, MapKind::Queue),
        (bpf_map_type::BPF_MAP_TYPE_RINGBUF, MapKind::Ring),
    ];
    let kind = kinds
        .into_iter()
        .find(|(number, _)| *number as u32 == map.map_type())?
        .1;
    Some(MapSize {
        name: name.to_owned(),
        kind,
        key: map.key_size(),
        value: map.value_size(),
        entries: map.max_entries(),
    })
}
