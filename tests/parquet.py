"""Reads a Parquet file as anybody would, with DuckDB, and prints what the test compares as JSON."""

import json
import sys

import duckdb

STAGES = ["device", "wait", "attempt", "retry_wait", "verify", "total"]
PART = "count({0}_ns), quantile_disc({0}_ns, [0.5, 0.9, 0.99, 0.999])"

[file] = sys.argv[1:]
ios = duckdb.read_parquet(file)

stages = ", ".join(PART.format(stage) for stage in STAGES)
rows = ios.query("ios", f"SELECT device, device_name, placement, count(*), sum(bytes), {stages} FROM ios GROUP BY ALL")
groups = []
for device, name, placement, count, size, *rest in rows.fetchall():
    group = {"device": device, "name": name, "placement": placement, "ios": count, "bytes": int(size)}
    parts = zip(STAGES, rest[::2], rest[1::2])
    group["stages"] = {stage: {"count": count, "quantiles": quantiles} for stage, count, quantiles in parts if count}
    groups.append(group)

# As text, but for moments, of which Python would need a library for time zones.
texts = ios.limit(3).query(
    "ios",
    "SELECT COLUMNS(* EXCLUDE (booted_at, mapped_at))::VARCHAR,"
    " epoch_us(booted_at)::VARCHAR AS booted_at, epoch_us(mapped_at)::VARCHAR AS mapped_at FROM ios",
)
first = [dict(zip(texts.columns, row)) for row in texts.fetchall()]

key_value = "SELECT decode(value) FROM parquet_kv_metadata(?) WHERE decode(key) = 'verity-trace'"
[(metadata,)] = duckdb.execute(key_value, [file]).fetchall()

found = {
    "columns": {name: str(kind) for name, kind in zip(ios.columns, ios.types)},
    "groups": groups,
    "first": first,
    "metadata": json.loads(metadata),
}
json.dump(found, sys.stdout)
