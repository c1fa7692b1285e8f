# Counts instructions: $1 is the number of reads of a case. For each case there is
#   CASE_clat.log  fio's log of every read: its own percentiles are rounded to 512 ns
#   CASE.programs  a line for each program in the kernel: its name, how often it ran and its
#                  instructions in all, from a second run of as many reads with the kernel's own
#                  statistics on, which cost too
#   CASE.json      what a tracer has found in both runs
. /lab/in/bench/common.sh
reads=$1
export BPFTRACE_MAX_MAP_KEYS=16384

read_from() {
    fio --name="$1" --filename="$2" --readonly --direct=1 --rw=randread --bs=4k --ioengine=psync \
        --number_ios="$reads" --write_lat_log="$1" --per_job_logs=0 >/dev/null
}

# Opens the device. The first reads after a boot can cost more than all later ones.
prepare() {
    open "$@"
    read_from first /dev/mapper/bench
}

# Measures on a device; everything is attached.
measure() {
    read_from "$1" "$device"
    sysctl -qw kernel.bpf_stats_enabled=1
    read_from statistics "$device"
    sysctl -qw kernel.bpf_stats_enabled=0
    bpftool prog show | awk '/ run_cnt / {
        for (i = 1; i < NF; i++) value[$i] = $(i + 1)
        print value["name"], value["run_cnt"], value["run_time_ns"]
    }' >"$1.programs"
}

while_traced() {
    [ -e /run/floor.bt ] || write_floor
    measure "$1"
}

# Measures with the live view open on a console of its own, on which nothing is left of another one. The view asks for
# the records of the slowest I/Os.
live_view() {
    openvt -w -c "$2" env TERM=linux verity-trace top &
    view=$!
    until grep -qs fentry "/dev/vcs$2"; do
        sleep 0.5
        kill -0 "$view"
    done
    measure "$1"
    kill -TERM "$(pidof verity-trace)"
    wait "$view" || true
}

# Writes a bpftrace script whose programs only return, two instructions each: one on every hook that the
# tracer has attached to, those of softirqs among them.
write_floor() {
    bpftool link | awk '
        function empty(hook) { print hook " { if (0) { exit(); } }" }
        $1 == "tp" { gsub("\047", ""); empty("rawtracepoint:" $2) }
        $3 == "attach_type" { kind = $4 == "trace_fexit" ? "fexit" : "fentry" }
        $1 == "target_obj_id" {
            if (!is_read[$2]++) {
                while (("bpftool btf dump id " $2 " format raw 2>/dev/null" | getline line) > 0) {
                    split(line, word, "[][ \047]+")
                    if (word[3] == "FUNC") name[$2, word[2]] = word[4]
                }
            }
            empty(kind ":dm_verity:" name[$2, $4])
        }' >/run/floor.bt
}

# Whether as many probes of bpftrace are attached as the script has. It says so itself too early.
is_attached() {
    {
        bpftool link 2>/dev/null
        cat /sys/kernel/debug/kprobes/list
    } | awk -v wanted="$(grep -cE '^(fentry|fexit|kprobe|kretprobe|rawtracepoint):' /run/script.bt)" '
        $1 == "tp" || $3 == "attach_type" || / [kr] / && !/DISABLED/ { attached++ }
        END { exit attached < wanted }'
}

# Measures with a bpftrace script attached, which leaves NAME.maps.
script() {
    name=$1
    case $LAB_KERNEL in
        6.1) sed 's/\<in_bh\>/in_tasklet/; s/\<use_bh_wq\>/use_tasklet/; /^\/\/ ---/,$d' "$2" ;;
        *) cat "$2" ;;
    esac >/run/script.bt
    # ext4 has a function of the name verity_work too.
    addresses=$(awk '
        $3 == "verity_work" && $4 == "[dm_verity]" { work = $1 }
        $3 == "verity_bh_work" { bh_work = $1 }
        $3 == "dm_verity_use_bh_bytes" { limits = $1 }
        END { print "0x" work, bh_work ? "0x" bh_work : 0, limits ? "0x" limits : 0 }
    ' /proc/kallsyms)
    # shellcheck disable=SC2086
    bpftrace -B line -f json /run/script.bt $addresses >"$name.maps" 2>&1 &
    tracer=$!
    until is_attached; do
        sleep 0.5
        kill -0 "$tracer" 2>/dev/null || {
            cat "$name.maps" >&2
            exit 1
        }
    done
    measure "$name"
    kill -INT "$tracer"
    wait "$tracer"
}

make_disks
device=/dev/mapper/bench
prepare
measure off-untraced
trace off-default
trace off-records --records 1000000
live_view off-live-view 1
trace off-queues --queues
trace off-hash-cache --hash-cache
trace off-submitters --submitters
trace off-kprobe --attach kprobe
script off-floor /run/floor.bt
script off-rival-fentry /lab/in/bench/rival_fentry.bt
script off-rival-kprobe /lab/in/bench/rival_kprobe.bt
veritysetup close bench
prepare --use-tasklets
# The option has hooks of its own.
rm /run/floor.bt
measure on-untraced
trace on-default
live_view on-live-view 2
trace on-queues --queues
trace on-hash-cache --hash-cache
trace on-submitters --submitters
script on-floor /run/floor.bt
script on-rival-fentry /lab/in/bench/rival_fentry.bt

# Each read of a loop device is a work item that is not dm-verity's.
modprobe loop
losetup -r /dev/loop0 /dev/ram0
device=/dev/loop0
# What is behind it is cached from then on.
dd if=/dev/loop0 of=/dev/null bs=1M 2>/dev/null
read_from first /dev/loop0
measure loop-untraced
trace loop-default
trace loop-queues --queues
trace loop-kprobe --attach kprobe
trace loop-tracepoint --attach tracepoint
echo 'rawtracepoint:workqueue_queue_work { if (0) { exit(); } }' >/run/workqueue.bt
script loop-floor /run/workqueue.bt
