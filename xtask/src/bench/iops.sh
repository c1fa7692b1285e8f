# Pairs of runs, first without tracing and then with it: $1 pairs. Each run leaves RUN.fio, fio's own
# JSON.
. /lab/in/bench/common.sh

read_for_a_while() {
    fio --name="$1" --filename=/dev/mapper/bench --readonly --direct=1 --rw=randread --bs=4k \
        --ioengine=libaio --iodepth=8 --time_based --runtime=3 --output-format=json --output="$1.fio"
}

while_traced() {
    read_for_a_while "$1"
}

make_disks
open
for pair in $(seq "$1"); do
    read_for_a_while "untraced-$pair"
    trace "traced-$pair"
done
