# Records each case of /lab/in/cases with the option off and then on, under the same load: into $1/CASE/off.vtrec and
# on.vtrec; and both once more with other random numbers, into again-off.vtrec and again-on.vtrec. Where on.vtrec leads to
# advice on limits, on under these, too: limited.vtrec and again-limited.vtrec. A line is a case: name, disk (brd, or irqmode
# of null_blk), nanoseconds that this takes, nanoseconds that a hash block takes to read (0: it is in the cache), limit for
# use_bh_bytes (0: as it is), and what fio is told, of which the random numbers come first.
set -eu
mkdir "$1"

# What is read: from the first 32 MiB. Hash blocks are there for all of the device.
mebibytes=32
modprobe brd rd_nr=2 rd_size=65536
dd if="$LAB_DATA" of=/dev/ram0 bs=1M count=$mebibytes conv=fsync 2>/dev/null
dd if="$LAB_HASH" of=/dev/ram1 bs=1M conv=fsync 2>/dev/null
modprobe null_blk nr_devices=0
mount -t configfs configfs /sys/kernel/config
modprobe dm-verity
limits=/sys/module/dm_verity/parameters/use_bh_bytes
cluster=/sys/module/dm_verity/parameters/prefetch_cluster
cache=/sys/module/dm_bufio/parameters/max_cache_size_bytes
read -r usual_cluster <$cluster
read -r usual_cache <$cache
[ ! -e $limits ] || read -r usual_limits <$limits

# Makes a disk that keeps what is written to it: $1 its name, $2 irqmode, $3 nanoseconds, $4 what it begins with.
null_blk() {
    folder=/sys/kernel/config/nullb/$1
    mkdir "$folder"
    for set in size=64 blocksize=4096 memory_backed=1 submit_queues=1 irqmode="$2" completion_nsec="$3" power=1; do
        echo "${set#*=}" >"$folder/${set%=*}"
    done
    # Later kernels call the disk by the folder's name.
    made=/dev/$1
    [ -b "$made" ] || made=/dev/nullb$(cat "$folder/index")
    dd if="$4" of="$made" bs=1M count=$mebibytes conv=fsync 2>/dev/null
}

# Reads a block of data for each block of hashes, which then is in the cache and verified.
warm_up() {
    block=0
    while [ $block -lt $((mebibytes * 256)) ]; do
        dd if=/dev/mapper/score of=/dev/null bs=4k count=1 skip=$block iflag=direct 2>/dev/null
        block=$((block + 128))
    done
}

# Records what fio does when told $2 in the file $1, of a device that was opened with what follows.
record() {
    file=$1
    told=$2
    shift 2
    veritysetup open "$@" "$data" score "$hashes" "$LAB_ROOT_HASH"
    [ "$cold" != 0 ] || warm_up
    # shellcheck disable=SC2086
    verity-trace record --as-root -o "$file" -- fio --filename=/dev/mapper/score --readonly --direct=1 \
        --size=${mebibytes}m --io_size=100g --norandommap --output=/dev/null $told
    veritysetup close score
}

while read -r name disk ns cold limit load; do
    data=/dev/ram0
    hashes=/dev/ram1
    if [ "$disk" != brd ]; then
        null_blk data "$disk" "$ns" /dev/ram0
        data=$made
    fi
    if [ "$cold" != 0 ]; then
        null_blk hashes 2 "$cold" /dev/ram1
        hashes=$made
        # A prefetch reads one block, and the cache holds 48 of the 65 that are needed.
        echo 4096 >$cluster
        echo 196608 >$cache
    fi
    [ "$limit" = 0 ] || [ ! -e $limits ] || echo "$limit,$limit,$limit,0" >$limits
    mkdir "$1/$name"
    record "$1/$name/off.vtrec" "$load"
    record "$1/$name/on.vtrec" "$load" --use-tasklets
    again=--randseed=1000${load#--randseed=}
    record "$1/$name/again-on.vtrec" "$again" --use-tasklets
    record "$1/$name/again-off.vtrec" "$again"
    advised=$(verity-trace recommend --json "$1/$name/on.vtrec" | tr -d ' \n' |
        sed -n 's/.*"verdict":"limit","use_bh_bytes":\[\([0-9,]*\)\].*/\1/p')
    if [ -n "$advised" ]; then
        echo "$advised" >$limits
        record "$1/$name/limited.vtrec" "$load" --use-tasklets
        record "$1/$name/again-limited.vtrec" "$again" --use-tasklets
    fi
    [ ! -e $limits ] || echo "$usual_limits" >$limits
    echo "$usual_cluster" >$cluster
    echo "$usual_cache" >$cache
    for folder in /sys/kernel/config/nullb/*/; do
        [ ! -d "$folder" ] || rmdir "$folder"
    done
done </lab/in/cases
