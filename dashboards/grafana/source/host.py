"""One host: everything that is known of it, its devices together."""

from grafana_foundation_sdk.models import dashboard

from parts import (
    BYTES,
    BYTE_RATE,
    COUNT,
    IO_RATE,
    MOMENT,
    NONE_IS_GOOD,
    NO_TIME,
    RATE,
    SECONDS,
    SHARE,
    TEXT,
    at_once,
    board,
    grid,
    heat,
    lines,
    mix,
    number,
    query,
    rate_where,
    rows,
    variable,
    words,
)

ON = 'instance="$instance"'
rate = rate_where(ON)


def make():
    """The dashboard."""
    return board(
        "verity-trace-host",
        "dm-verity: host",
        "One host: where it verifies, how long that takes, what goes wrong, and what tracing costs.",
        [
            variable(
                "instance",
                "Host",
                "The host that is shown",
                "label_values(verity_trace_build_info, instance)",
            )
        ],
        [
            ("State", state()),
            ("I/Os", ios()),
            ("How long the stages take", stages()),
            ("Softirq", softirq()),
            ("What goes wrong", trouble()),
            ("Advice, and option against effect", advice()),
            ("Loss and own cost", cost()),
        ],
    )


def state():
    return [
        words(
            "Kernel",
            "The kernel, and what it makes of try_verify_in_tasklet",
            at_once(f"verity_trace_kernel_info{{{ON}}}", "{{release}}: {{era}}"),
            span=6,
        ),
        words(
            "Watched",
            "Whether dm-verity is watched, and how",
            at_once(f"verity_trace_tracing_info{{{ON}}}", "{{state}} {{rung}}"),
        ),
        words(
            "Version",
            "Of verity-trace",
            at_once(f"verity_trace_build_info{{{ON}}}", "{{version}}"),
            span=3,
        ),
        number(
            "Last snapshot",
            "When everything here was read. A recording tells of the moment that it was made in",
            MOMENT,
            at_once(f"verity_trace_snapshot_timestamp_seconds{{{ON}}} * 1000"),
        ),
        number(
            "Devices",
            "Verity devices, and how many of them have no series of their own and are in those of the device other",
            COUNT,
            at_once(f"verity_trace_devices{{{ON}}}", "devices"),
            at_once(f"verity_trace_devices_folded{{{ON}}}", "folded", "B"),
        ),
        number(
            "Oldest in flight",
            "Age of the oldest I/O; - where none is in flight",
            SECONDS,
            at_once(f"max(verity_trace_io_oldest_seconds{{{ON}}})"),
            span=3,
            colours=NO_TIME,
        ),
    ]


def ios():
    return [
        mix(
            "Where I/Os are verified",
            "I/Os that finish, by placement",
            IO_RATE,
            query(f"sum by (placement) ({rate('verity_trace_io_total')})", "{{placement}}"),
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
        ),
        lines(
            "I/Os by device",
            "I/Os that finish, of the ten devices with most",
            IO_RATE,
            query(f"topk(10, sum by (device) ({rate('verity_trace_io_total')}))", "{{device}}"),
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
        ),
        lines(
            "Attempts that gave up",
            "By where the attempt was",
            IO_RATE,
            query(
                f"sum by (placement) ({rate('verity_trace_io_attempts_given_up_total')})",
                "{{placement}}",
            ),
        ),
    ]


def stages():
    meaning = {
        "wait": "From the completion to the first verification: what kernel commits call verity wait time",
        "verify": "The verification itself",
        "total": "The whole I/O, from verity_map to verity_finish_io",
    }
    heats = [
        heat(
            f"Stage {stage}",
            f"{text}. How many I/Os a second took how long",
            f"""sum by (le) ({rate("verity_trace_stage_seconds_bucket", f'stage="{stage}"')})""",
        )
        for stage, text in meaning.items()
    ]

    def quantile(q):
        return (
            f"histogram_quantile({q}, sum by (stage, le) ({rate('verity_trace_stage_seconds_bucket')}))"
        )

    return [
        *heats,
        lines(
            "Percentiles",
            "Of each stage, exact to the bounds of the buckets: a factor of 2 near 1 ms",
            SECONDS,
            query(quantile(0.5), "{{stage}} p50"),
            query(quantile(0.99), "{{stage}} p99", "B"),
        ),
        lines(
            "Mean by stage",
            "The sum of a stage's times divided by their number",
            SECONDS,
            query(
                f"sum by (stage) ({rate('verity_trace_stage_seconds_sum')}) / "
                f"(sum by (stage) ({rate('verity_trace_stage_seconds_count')}) > 0)",
                "{{stage}}",
            ),
        ),
        lines(
            "Queued, where only workqueues are seen",
            "On the rung tracepoint alone: how long verifications that began had been queued, p99 by placement",
            SECONDS,
            query(
                f"histogram_quantile(0.99, sum by (placement, le) ({rate('verity_trace_queued_seconds_bucket')}))",
                "{{placement}} p99",
            ),
        ),
        lines(
            "What waits for kverityd consist of",
            "With --queues: in each second, the time spent behind another work, and until the worker woke up",
            SECONDS,
            query(
                f"sum by (cause) ({rate('verity_trace_kverityd_wait_seconds_total')})", "{{cause}}"
            ),
        ),
    ]


def softirq():
    return [
        lines(
            "Verification in softirq, by CPU",
            "Part of its time that a CPU spends on it, attempts that gave up included",
            SHARE,
            query(
                f"sum by (cpu) ({rate('verity_trace_softirq_verify_seconds_total')})", "CPU {{cpu}}"
            ),
            span=8,
        ),
        lines(
            "All softirqs, by CPU",
            "Part of its time that a CPU spends in softirq, whatever for",
            SHARE,
            query(f"sum by (cpu) ({rate('verity_trace_softirq_seconds_total')})", "CPU {{cpu}}"),
            span=8,
        ),
        lines(
            "All softirqs, by vector",
            "In each second, of all CPUs together",
            SECONDS,
            query(f"sum by (vector) ({rate('verity_trace_softirq_seconds_total')})", "{{vector}}"),
            span=8,
        ),
        lines(
            "Verifications",
            "Verifications that begin, attempts that give up included; a tasklet's are in bh",
            RATE,
            query(
                f"sum by (placement) ({rate('verity_trace_verifications_total')})", "{{placement}}"
            ),
            span=8,
        ),
        lines(
            "Longest verification in softirq",
            "With --queues. All softirqs of a CPU have 2 ms before ksoftirqd has to take over",
            SECONDS,
            query(f"verity_trace_softirq_verify_longest_seconds{{{ON}}}", "longest"),
            span=8,
        ),
        lines(
            "use_bh_bytes",
            "The module's limit for verification in BH or inline, by ioprio class (Linux 6.15 and later)",
            BYTES,
            query(f"verity_trace_use_bh_bytes{{{ON}}}", "{{class}}"),
            span=8,
        ),
    ]


def trouble():
    def of_devices(metric):
        return f"sum by (device) ({rate(metric)})"

    return [
        lines(
            "Failed I/Os",
            "I/Os that finish with an error",
            IO_RATE,
            query(of_devices("verity_trace_io_failed_total"), "{{device}}"),
            span=8,
        ),
        number(
            "Corrupted devices",
            "Devices with a block that did not match its hash since their table was loaded",
            COUNT,
            at_once(f"sum(verity_trace_device_corrupted{{{ON}}})"),
            height=8,
            colours=NONE_IS_GOOD,
        ),
        number(
            "In flight since before",
            "At least so many I/Os are in flight that began before tracing did, as on a disk that hung already",
            COUNT,
            at_once(f"sum(verity_trace_io_in_flight_before_attach{{{ON}}})"),
            height=8,
            colours=NONE_IS_GOOD,
        ),
        lines(
            "In flight by stage",
            "I/Os begun and not finished, by the stage that they are in: where they hang, if they do",
            COUNT,
            query(f"sum by (stage) (verity_trace_io_in_flight{{{ON}}})", "{{stage}}"),
            span=8,
        ),
        lines(
            "Oldest in flight, by device",
            "Age of the oldest I/O; nothing where none is in flight",
            SECONDS,
            query(f"max by (device) (verity_trace_io_oldest_seconds{{{ON}}})", "{{device}}"),
        ),
        lines(
            "Refused, read again, corrected",
            "Maps that the target refused, I/Os of which a block was read again because its hash did not match, and those "
            "for which forward error correction was tried",
            IO_RATE,
            query(f"sum({rate('verity_trace_io_rejected_total')})", "rejected"),
            query(f"sum({rate('verity_trace_io_rechecked_total')})", "rechecked", "B"),
            query(f"sum({rate('verity_trace_io_fec_total')})", "FEC", "C"),
        ),
    ]


def advice():
    by = "device, verdict, certainty, change"
    return [
        grid(
            "What is advised",
            "For each device, and by what part the mean total would get shorter with the option, or the limits, switched "
            "over; below 0 it would get longer",
            [
                ("device", "Device", TEXT),
                ("verdict", "Advice", TEXT),
                ("certainty", "Certainty", TEXT),
                ("change", "Change", TEXT),
                ("Value #B", "Shorter, at least", SHARE),
                ("Value #C", "Shorter, at most", SHARE),
            ],
            rows(f"max by ({by}) (verity_trace_advice_info{{{ON}}})", "A"),
            *(
                rows(
                    f'max by ({by}) (verity_trace_advice_gain_ratio{{bound="{bound}", {ON}}} * on (job, device) '
                    f'group_left (verdict, certainty, change) verity_trace_advice_info{{device!="other", {ON}}})',
                    ref,
                )
                for bound, ref in (("worst", "B"), ("best", "C"))
            ),
            span=12,
        ),
        grid(
            "Option against effect, by device",
            "Whether the table has try_verify_in_tasklet, whether anything but kverityd verified or tried to, and the part "
            "of the I/Os that were verified in BH or inline",
            [
                ("device", "Device", TEXT),
                ("number", "Number", TEXT),
                ("algorithm", "Hash", TEXT),
                ("option", "Option", TEXT),
                ("effective", "Effective", TEXT),
                ("Value #B", "In BH or inline", SHARE),
            ],
            rows(
                f"max by (device, number, algorithm, option, effective) (verity_trace_device_info{{{ON}}})",
                "A",
            ),
            rows(
                "max by (device, number, algorithm, option, effective) (verity_trace_device_info"
                f"{{{ON}}} * on (job, device) group_left () (1 - "
                f"""sum by (job, device) (rate(verity_trace_io_total{{placement=~"kverityd|fallback|none", {ON}}}[$__range]))"""
                f" / (sum by (job, device) (rate(verity_trace_io_total{{{ON}}}[$__range])) > 0)))",
                "B",
            ),
            span=12,
        ),
    ]


def cost():
    return [
        lines(
            "Loss by kind",
            "What goes unseen, in events a second",
            RATE,
            query(f"sum by (kind) ({rate('verity_trace_loss_total')})", "{{kind}}"),
            span=8,
        ),
        lines(
            "I/Os that count only in part",
            "I/Os of which some event was not seen, beside all that were mapped",
            IO_RATE,
            query(f"sum({rate('verity_trace_io_incomplete_total')})", "incomplete"),
            query(f"sum({rate('verity_trace_io_mapped_total')})", "mapped", "B"),
            span=8,
        ),
        number(
            "Before attach",
            "I/Os that began before all probes were attached, and are counted nowhere else",
            COUNT,
            at_once(f"verity_trace_io_before_attach_total{{{ON}}}"),
            height=8,
        ),
        number(
            "Loss is",
            "Whether the kernel counts what its kprobes miss; where it does not, more can have gone unseen",
            COUNT,
            at_once(f"verity_trace_loss_is_lower_bound{{{ON}}}"),
            height=8,
        ).mappings(
            [
                dashboard.ValueMap(
                    options={
                        "0": dashboard.ValueMappingResult(text="exact"),
                        "1": dashboard.ValueMappingResult(text="a lower bound"),
                    }
                )
            ]
        ),
        lines(
            "What tracing costs",
            "Part of one CPU that the programs in the kernel take, and that verity-trace itself does",
            SHARE,
            query(f"verity_trace_programs_cpu_ratio{{{ON}}}", "programs"),
            query(rate("verity_trace_process_cpu_seconds_total"), "verity-trace", "B"),
            span=8,
        ),
        lines(
            "What tracing costs each",
            "Time that the programs in the kernel add to each I/O, softirq, work item and hash block",
            SECONDS,
            query(f"verity_trace_programs_each_seconds{{{ON}}}", "{{occasion}}"),
            span=8,
        ),
        lines(
            "Time watched",
            "Part of the time with the probes attached, in which everything is counted",
            SHARE,
            query(rate("verity_trace_watched_seconds_total"), "watched"),
            span=8,
        ),
    ]
