# What both measurements share: a device on RAM disks, which complete in the task that reads and not
# when the host likes, and tracers that come and go. $1 is how much to read, $2 the folder for what was
# measured; what stands beside this file is in /lab/in/bench.
set -e
mkdir "$2"
cd "$2"
mkfifo /run/said

make_disks() {
    modprobe brd rd_nr=2 rd_size=$(($(blockdev --getsize64 "$LAB_DATA") / 1024))
    dd if="$LAB_DATA" of=/dev/ram0 bs=1M conv=fsync 2>/dev/null
    dd if="$LAB_HASH" of=/dev/ram1 bs=1M conv=fsync 2>/dev/null
}

# Opens the device, and reads all of it once: from then on the hash cache is hot.
open() {
    veritysetup open "$@" /dev/ram0 bench /dev/ram1 "$LAB_ROOT_HASH"
    dd if=/dev/mapper/bench of=/dev/null bs=1M iflag=direct 2>/dev/null
}

# Runs `while_traced` with the tracer attached. What follows the name is for the tracer, which leaves
# NAME.json.
trace() {
    name=$1
    shift
    verity-trace export --once --duration 1h "$@" >"$name.json" 2>/run/said &
    tracer=$!
    exec 5</run/said
    while read -r line <&5 && echo "$name: $line" >&2; do
        case $line in *watching*) break ;; esac
    done
    while_traced "$name"
    kill -INT "$tracer"
    code=0
    wait "$tracer" || code=$?
    cat <&5 >&2
    exec 5<&-
    # A tracer that could not watch has ended with another code, and has said why.
    [ "$code" = 130 ]
}
