"""All hosts: which have trouble, and which should change what. It reads what recording.yml records."""

from parts import (
    COUNT,
    IO_RATE,
    NONE_IS_GOOD,
    NO_TIME,
    RATE,
    SECONDS,
    SHARE,
    TEXT,
    at_once,
    bars,
    board,
    grid,
    lines,
    mix,
    number,
    query,
    rows,
    variable,
)

ON = 'instance=~"$instance"'


def make():
    """The dashboard."""
    return board(
        "verity-trace-fleet",
        "dm-verity: fleet",
        "Where the hosts verify, what goes wrong, and which of them should change what. It needs the recording rules of "
        "dashboards/prometheus/recording.yml.",
        [
            variable(
                "instance",
                "Hosts",
                "The hosts that are shown",
                "label_values(verity_trace_build_info, instance)",
                many=True,
            )
        ],
        [
            ("State", state()),
            ("Which hosts should change, and what would it bring", advice()),
            ("Load", load()),
            ("What goes wrong", trouble()),
            ("Option against effect", effect()),
            ("Loss and own cost", cost()),
        ],
    )


def state():
    return [
        number(
            "Hosts",
            "Hosts that verity-trace tells of",
            COUNT,
            at_once(f"count(verity_trace_build_info{{{ON}}})"),
        ),
        number(
            "Not scraped",
            "Hosts of the job verity-trace that Prometheus cannot scrape",
            COUNT,
            at_once(f'count(up{{job="verity-trace", {ON}}} == 0) or vector(0)'),
            colours=NONE_IS_GOOD,
        ),
        number(
            "Devices",
            "Verity devices of all hosts",
            COUNT,
            at_once(f"sum(verity_trace_devices{{{ON}}})"),
        ),
        number(
            "I/Os",
            "I/Os that finish, in the last 5 minutes",
            IO_RATE,
            at_once(f"sum(instance_placement:verity_trace_io:rate5m{{{ON}}})"),
        ),
        number(
            "Corrupted devices",
            "Devices with a block that did not match its hash since their table was loaded",
            COUNT,
            at_once(f"sum(verity_trace_device_corrupted{{{ON}}})"),
            colours=NONE_IS_GOOD,
        ),
        number(
            "Oldest in flight",
            "Age of the oldest I/O of all; - where none is in flight",
            SECONDS,
            at_once(f"max(verity_trace_io_oldest_seconds{{{ON}}})"),
            colours=NO_TIME,
        ),
    ]


def advice():
    of = f"{{{ON}}}"
    gain = "instance_device:verity_trace_advised_gain"
    by = "instance, device, verdict, certainty"

    def column(metric, bound):
        return f'max by ({by}) ({metric}{{bound="{bound}", {ON}}})'

    return [
        grid(
            "Devices that should change",
            "What is advised, and what it would bring: the part of the mean total, and the time of I/Os that would be saved "
            "in each second. Empty where nothing was computed, as for an option that does nothing",
            [
                ("instance", "Host", TEXT),
                ("device", "Device", TEXT),
                ("verdict", "Advice", TEXT),
                ("certainty", "Certainty", TEXT),
                ("Value #A", "Shorter, at least", SHARE),
                ("Value #B", "Shorter, at most", SHARE),
                ("Value #C", "Saved a second, at least", SECONDS),
                ("Value #D", "Saved a second, at most", SECONDS),
            ],
            rows(column(f"{gain}:ratio", "worst"), "A"),
            rows(column(f"{gain}:ratio", "best"), "B"),
            rows(column(f"{gain}_seconds:rate5m", "worst"), "C"),
            rows(column(f"{gain}_seconds:rate5m", "best"), "D"),
            rows(
                f'max by ({by}) (verity_trace_advice_info{{change="yes", device!="other", {ON}}})',
                "E",
            ),
            sort="Saved a second, at most",
        ),
        number(
            "Hosts that should change",
            "Hosts with at least one device for which a change is advised",
            COUNT,
            at_once(
                f'count(count by (job, instance) (verity_trace_advice_info{{change="yes", {ON}}})) or vector(0)'
            ),
            span=6,
        ),
        number(
            "It would save, at least",
            "Time of I/Os that would be saved in each second if all hosts did as advised: so many I/Os fewer would be in "
            "flight. The worst case of each",
            SECONDS,
            at_once(
                f'sum(instance:verity_trace_advised_gain_seconds:rate5m{{bound="worst", {ON}}})'
            ),
            span=6,
        ),
        number(
            "It would save, at most",
            "The same, the best case of each",
            SECONDS,
            at_once(f'sum(instance:verity_trace_advised_gain_seconds:rate5m{{bound="best", {ON}}})'),
            span=6,
        ),
        number(
            "Time that I/Os take",
            "In each second, of all hosts: what the savings are to be held against",
            SECONDS,
            at_once(f"sum(instance_device:verity_trace_io_seconds:rate5m{of})"),
            span=6,
        ),
        bars(
            "Devices by advice",
            "How many devices of the whole fleet have each verdict",
            COUNT,
            at_once("sum by (verdict) (verdict:verity_trace_advice:count)"),
        ),
        bars(
            "Hosts by advice",
            "On how many hosts of the whole fleet at least one device has each verdict",
            COUNT,
            at_once("sum by (verdict) (verdict:verity_trace_advice:count_instances)"),
        ),
    ]


def load():
    return [
        mix(
            "Where I/Os are verified",
            "I/Os that finish, by placement",
            IO_RATE,
            query(
                f"sum by (placement) (instance_placement:verity_trace_io:rate5m{{{ON}}})",
                "{{placement}}",
            ),
        ),
        lines(
            "The busiest hosts",
            "I/Os of the ten hosts with most",
            IO_RATE,
            query(
                f"topk(10, sum by (instance) (instance_placement:verity_trace_io:rate5m{{{ON}}}))",
                "{{instance}}",
            ),
        ),
        lines(
            "Fallback rate",
            "Of the I/Os that were tried outside kverityd, the part that gave up: the ten hosts with most",
            SHARE,
            query(
                f"topk(10, instance:verity_trace_fallback:ratio_rate5m{{{ON}}})", "{{instance}}"
            ),
            span=8,
        ),
        lines(
            "Verification in softirq",
            "Part of its time that a CPU spends on it, of the CPU with most: the ten hosts with most",
            SHARE,
            query(
                f"topk(10, instance:verity_trace_softirq_verify:max_ratio_rate5m{{{ON}}})",
                "{{instance}}",
            ),
            span=8,
        ),
        lines(
            "All softirqs",
            "Part of its time that a CPU spends in softirq, whatever for, of the CPU with most: the ten hosts with most",
            SHARE,
            query(
                f"topk(10, instance:verity_trace_softirq:max_ratio_rate5m{{{ON}}})", "{{instance}}"
            ),
            span=8,
        ),
    ]


def trouble():
    by = "by (instance, device)"
    return [
        lines(
            "Failed I/Os",
            "I/Os that finish with an error",
            IO_RATE,
            query(
                f"sum {by} (rate(verity_trace_io_failed_total{{{ON}}}[$__rate_interval])) > 0",
                "{{instance}} {{device}}",
            ),
            span=8,
        ),
        lines(
            "Oldest in flight, by host",
            "Age of the oldest I/O: the ten hosts with most",
            SECONDS,
            query(
                f"topk(10, max by (instance) (verity_trace_io_oldest_seconds{{{ON}}}))",
                "{{instance}}",
            ),
            span=8,
        ),
        lines(
            "In flight",
            "I/Os begun and not finished: the ten hosts with most",
            COUNT,
            query(
                f"topk(10, sum by (instance) (verity_trace_io_in_flight{{{ON}}}))", "{{instance}}"
            ),
            span=8,
        ),
        grid(
            "Devices with a block that did not match its hash",
            "Since their table was loaded. An empty table is good",
            [("instance", "Host", TEXT), ("device", "Device", TEXT), ("Value", "Devices", COUNT)],
            rows(f"max {by} (verity_trace_device_corrupted{{{ON}}}) > 0"),
            span=12,
            height=6,
        ),
        grid(
            "Verifications of 1 ms and more outside kverityd",
            "Their part in all outside kverityd. All softirqs of a CPU have 2 ms before ksoftirqd has to take over",
            [("instance", "Host", TEXT), ("device", "Device", TEXT), ("Value", "Part", SHARE)],
            rows(
                f"topk(20, max {by} (instance_device:verity_trace_long_in_softirq:ratio_rate5m{{{ON}}}))"
            ),
            span=12,
            height=6,
        ),
    ]


def effect():
    return [
        grid(
            "Devices whose option does nothing",
            "Their table has try_verify_in_tasklet, and only kverityd verifies: on kernels of the eras inert and no-option "
            "always, else because all I/Os are too large",
            [
                ("instance", "Host", TEXT),
                ("device", "Device", TEXT),
                ("era", "Era", TEXT),
                ("release", "Kernel", TEXT),
            ],
            rows(
                f"max by (instance, device, era, release) (instance_device:verity_trace_option_without_effect:info{{{ON}}})"
            ),
            span=12,
        ),
        bars(
            "Devices by option and effect",
            "Whether the table has the option, and whether anything but kverityd verified or tried to",
            COUNT,
            at_once(
                f"count by (option, effective) (verity_trace_device_info{{{ON}}})",
                "option {{option}}, effective {{effective}}",
            ),
            span=6,
        ),
        bars(
            "Hosts by kernel",
            "Kernels, and what each makes of the option",
            COUNT,
            at_once(
                f"count by (release, era) (verity_trace_kernel_info{{{ON}}})", "{{release}} {{era}}"
            ),
            span=6,
        ),
    ]


def cost():
    return [
        lines(
            "Went unseen",
            "Events a second that are lost: the ten hosts with most",
            RATE,
            query(
                f"topk(10, sum by (instance) (rate(verity_trace_loss_total{{{ON}}}[$__rate_interval])))",
                "{{instance}}",
            ),
            span=8,
        ),
        lines(
            "What tracing costs",
            "Part of one CPU that the programs in the kernel take: the ten hosts with most",
            SHARE,
            query(
                f"topk(10, max by (instance) (verity_trace_programs_cpu_ratio{{{ON}}}))",
                "{{instance}}",
            ),
            span=8,
        ),
        bars(
            "Hosts by state",
            "Whether dm-verity is watched, how, and by which version of verity-trace",
            COUNT,
            at_once(
                "count by (state, rung, version) ("
                f"verity_trace_tracing_info{{{ON}}} * on (job, instance) group_left (version) verity_trace_build_info)",
                "{{state}} {{rung}} {{version}}",
            ),
            span=8,
        ),
    ]
