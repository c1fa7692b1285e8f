"""One device of a host."""

from parts import (
    BYTE_RATE,
    COUNT,
    IO_RATE,
    NONE_IS_GOOD,
    NO_TIME,
    RATE,
    SECONDS,
    SHARE,
    at_once,
    board,
    heat,
    lines,
    mix,
    number,
    query,
    rate_where,
    variable,
    words,
)

ON = 'instance="$instance", device="$device"'
rate = rate_where(ON)


def make():
    """The dashboard."""
    return board(
        "verity-trace-device",
        "dm-verity: device",
        "One device: what the option does for it, how long each stage takes at each placement, and what goes wrong.",
        [
            variable(
                "instance",
                "Host",
                "The host that the device is on",
                "label_values(verity_trace_build_info, instance)",
            ),
            variable(
                "device",
                "Device",
                "The device that is shown; other stands for all that have no series of their own",
                'label_values(verity_trace_io_total{instance="$instance"}, device)',
            ),
        ],
        [
            ("Option against effect", effect()),
            ("I/Os", ios()),
            ("How long the stages take", stages()),
            ("What goes wrong", trouble()),
            ("Hash blocks and kverityd", causes()),
        ],
    )


def effect():
    return [
        words(
            "Option",
            "Whether the table has try_verify_in_tasklet",
            at_once(f"verity_trace_device_info{{{ON}}}", "{{option}}"),
            span=3,
        ),
        words(
            "Effective",
            "Whether anything but kverityd verified or tried to; unknown while nothing was verified",
            at_once(f"verity_trace_device_info{{{ON}}}", "{{effective}}"),
            span=3,
        ),
        words(
            "Advice",
            "What is advised, and how sure that is",
            at_once(f"verity_trace_advice_info{{{ON}}}", "{{verdict}} ({{certainty}})"),
            span=6,
        ),
        number(
            "It would bring",
            "By what part the mean total would get shorter with the option, or the limits, switched over, at least (worst) "
            "and at most (best); below 0 it would get longer",
            SHARE,
            at_once(f"verity_trace_advice_gain_ratio{{{ON}}}", "{{bound}}"),
            span=6,
        ),
        words(
            "Device",
            "Its number, and its hash",
            at_once(f"verity_trace_device_info{{{ON}}}", "{{number}} {{algorithm}}"),
            span=6,
        ),
        mix(
            "Placement mix",
            "The part of each placement in all I/Os",
            SHARE,
            query(
                f"sum by (placement) ({rate('verity_trace_io_total')}) / on () group_left () "
                f"(sum({rate('verity_trace_io_total')}) > 0)",
                "{{placement}}",
            ),
            span=8,
        ),
        lines(
            "Why not in BH or inline",
            "I/Os by the reason for which they were not, with their placement",
            IO_RATE,
            query(
                f"sum by (placement, reason) ({rate('verity_trace_io_reason_total')})",
                "{{placement}}: {{reason}}",
            ),
            span=8,
        ),
        lines(
            "Fallback rate",
            "Of the I/Os that were tried outside kverityd, the part that gave up",
            SHARE,
            query(
                f"""sum({rate("verity_trace_io_total", 'placement="fallback"')}) / """
                f"""(sum({rate("verity_trace_io_total", 'placement=~"bh|inline|tasklet|fallback"')}) > 0)""",
                "fallback rate",
            ),
            span=8,
        ),
    ]


def ios():
    return [
        mix(
            "Where I/Os are verified",
            "I/Os that finish, by placement",
            IO_RATE,
            query(f"sum by (placement) ({rate('verity_trace_io_total')})", "{{placement}}"),
            span=8,
        ),
        mix(
            "Throughput",
            "Bytes of the I/Os that finish, by placement",
            BYTE_RATE,
            query(f"sum by (placement) ({rate('verity_trace_io_bytes_total')})", "{{placement}}"),
            span=8,
        ),
        lines(
            "Attempts that gave up",
            "By where the attempt was",
            IO_RATE,
            query(
                f"sum by (placement) ({rate('verity_trace_io_attempts_given_up_total')})",
                "{{placement}}",
            ),
            span=8,
        ),
    ]


def stages():
    meaning = {
        "wait": "From the completion to the first verification",
        "verify": "The verification itself",
        "total": "The whole I/O",
    }
    heats = []
    quantiles = []
    for stage, text in meaning.items():
        on = f'stage="{stage}"'
        buckets = rate("verity_trace_stage_seconds_bucket", on)
        heats.append(
            heat(
                f"Stage {stage}",
                f"{text}. How many I/Os a second took how long",
                f"sum by (le) ({buckets})",
            )
        )
        quantiles.append(
            lines(
                f"{stage}: p50 and p99 by placement",
                f"{text}. Exact to the bounds of the buckets: a factor of 2 near 1 ms",
                SECONDS,
                query(
                    f"histogram_quantile(0.5, sum by (placement, le) ({buckets}))",
                    "{{placement}} p50",
                ),
                query(
                    f"histogram_quantile(0.99, sum by (placement, le) ({buckets}))",
                    "{{placement}} p99",
                    "B",
                ),
                span=8,
            )
        )
    return [
        *heats,
        *quantiles,
        lines(
            "Mean total by placement",
            "The sum of the times divided by their number",
            SECONDS,
            query(
                f"""sum by (placement) ({rate("verity_trace_stage_seconds_sum", 'stage="total"')}) / """
                f"""(sum by (placement) ({rate("verity_trace_stage_seconds_count", 'stage="total"')}) > 0)""",
                "{{placement}}",
            ),
        ),
        lines(
            "1 ms and more outside kverityd",
            "Their part in all verifications outside kverityd. All softirqs of a CPU have 2 ms before ksoftirqd has to take over",
            SHARE,
            query(
                f"""1 - sum({rate("verity_trace_stage_seconds_bucket", 'placement=~"bh|inline|tasklet"', 'stage="verify"', 'le="0.001048576"')}) / """
                f"""(sum({rate("verity_trace_stage_seconds_count", 'placement=~"bh|inline|tasklet"', 'stage="verify"')}) > 0)""",
                "1 ms and more",
            ),
        ),
    ]


def trouble():
    return [
        number(
            "Corrupted",
            "1 where a block did not match its hash since the table was loaded; of the device other, how many devices",
            COUNT,
            at_once(f"verity_trace_device_corrupted{{{ON}}}"),
            colours=NONE_IS_GOOD,
        ),
        number(
            "In flight since before",
            "At least so many I/Os are in flight that began before tracing did, as on a disk that hung already",
            COUNT,
            at_once(f"verity_trace_io_in_flight_before_attach{{{ON}}}"),
            colours=NONE_IS_GOOD,
        ),
        number(
            "Oldest in flight",
            "Age of the oldest I/O; - where none is in flight",
            SECONDS,
            at_once(f"verity_trace_io_oldest_seconds{{{ON}}}"),
            colours=NO_TIME,
        ),
        number(
            "Corrected blocks",
            "Blocks that forward error correction repaired since the table was loaded (Linux 7.0 and later)",
            COUNT,
            at_once(f"verity_trace_device_fec_corrected_blocks_total{{{ON}}}"),
        ),
        number(
            "Went unseen in part",
            "I/Os of which some event was not seen",
            COUNT,
            at_once(f"verity_trace_io_incomplete_total{{{ON}}}"),
        ),
        number(
            "Refused",
            "Maps that the target refused because they write, which are no I/Os",
            COUNT,
            at_once(f"verity_trace_io_rejected_total{{{ON}}}"),
        ),
        lines(
            "In flight by stage",
            "I/Os begun and not finished, by the stage that they are in: where they hang, if they do",
            COUNT,
            query(f"verity_trace_io_in_flight{{{ON}}}", "{{stage}}"),
            span=8,
        ),
        lines(
            "Failed I/Os",
            "I/Os that finish with an error, by placement",
            IO_RATE,
            query(f"sum by (placement) ({rate('verity_trace_io_failed_total')})", "{{placement}}"),
            span=8,
        ),
        lines(
            "Read again, corrected",
            "I/Os of which a block was read again because its hash did not match, and those for which forward error "
            "correction was tried",
            IO_RATE,
            query(rate("verity_trace_io_rechecked_total"), "rechecked"),
            query(rate("verity_trace_io_fec_total"), "FEC", "B"),
            span=8,
        ),
    ]


def causes():
    return [
        lines(
            "Look-ups in the cache of hash blocks",
            "With --hash-cache: what verifications found; awaited was being read already",
            RATE,
            query(
                f"sum by (result) ({rate('verity_trace_hash_cache_lookups_total')})", "{{result}}"
            ),
            span=8,
        ),
        lines(
            "Waits for hash blocks",
            "With --hash-cache: in each second, the time that verifications waited for them",
            SECONDS,
            query(rate("verity_trace_hash_cache_wait_seconds_total"), "wait"),
            span=8,
        ),
        lines(
            "What waits for kverityd consist of",
            "With --queues: in each second, the time spent behind another work, and until the worker woke up",
            SECONDS,
            query(
                f"sum by (cause) ({rate('verity_trace_kverityd_wait_seconds_total')})", "{{cause}}"
            ),
            span=8,
        ),
    ]
