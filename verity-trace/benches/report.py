"""Runs both sides of the benchmark in turn, sees that they agree, and prints the least that each took."""

import json
import os
import subprocess
import sys
import time

python, program, recording, file, turns = sys.argv[1:]

STAGES = ["device", "wait", "attempt", "retry_wait", "verify", "total"]
NAMES = ["p50_ns", "p90_ns", "p99_ns", "p999_ns"]
DUCKDB = f"""
import json, sys, duckdb
duckdb.execute("SET threads = 1")
# It would go to the same output.
duckdb.execute("SET enable_progress_bar = false")
stages = ", ".join(f"quantile_disc({{stage}}_ns, [0.5, 0.9, 0.99, 0.999])" for stage in {STAGES})
query = f"SELECT device, placement, count(*), {{stages}} FROM read_parquet(?) GROUP BY ALL"
json.dump(duckdb.execute(query, [sys.argv[1]]).fetchall(), sys.stdout)
"""

SIDES = {
    "verity-trace": [program, "report", recording, "--from=0s", "--format=json"],
    "DuckDB": [python, "-c", DUCKDB, file],
}


def run(command):
    """Seconds, seconds of the CPU and MiB of a process from its start to its end, and what it printed."""
    start = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    printed = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    took = time.monotonic() - start
    assert status == 0, command
    return took, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, json.loads(printed)


def agree(document, rows):
    """As many I/Os in each group, and every percentile at most the width of a slot away."""
    devices = {device["number"]: device["placements"] for device in document["devices"]}
    assert sum(len(placements) for placements in devices.values()) == len(rows)
    for device, placement, ios, *quantiles in rows:
        found = devices[device][placement]
        assert found["ios"] == ios, (device, placement)
        for stage, exact in zip(STAGES, quantiles):
            assert (stage in found["stages"]) == (exact is not None), stage
            for name, ns in zip(NAMES, exact or []):
                assert abs(found["stages"][stage][name] - ns) * 32 <= ns, (stage, name)


least = {}
for _ in range(int(turns)):
    printed = {}
    for side, command in SIDES.items():
        *figures, printed[side] = run(command)
        least[side] = [min(pair) for pair in zip(figures, least.get(side, figures))]
    agree(*printed.values())
for side, (took, cpu, mebibytes) in least.items():
    print(f"{side}: {took:.2f} s, {cpu:.2f} s of the CPU, {mebibytes:.0f} MiB")
ours, theirs = (figures[1] for figures in least.values())
print(f"  {ours / theirs:.2f} times of DuckDB's time of the CPU")
