#!/busybox sh
# The first process of a lab machine: makes it look like a system, runs the job, and reports its
# exit code. The host ends the machine.

# Prints the device whose serial number is $1.
disk() {
    for block in /sys/block/vd*; do
        read -r serial <"$block/serial"
        [ "$serial" = "$1" ] && echo "/dev/${block##*/}"
    done
}

# Prints the virtio port named $1, which the driver announces some time after it was loaded.
port() {
    while :; do
        for port in /sys/class/virtio-ports/*; do
            name=
            read -r name <"$port/name"
            [ "$name" = "$1" ] && echo "/dev/${port##*/}" && return
        done
    done 2>/dev/null
}

# The shell finds busybox's other programs through /proc.
/busybox mount -t proc proc /proc
mount -t devtmpfs dev /dev
mount -t sysfs sys /sys
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t tmpfs tmp /tmp
mount -t tmpfs run /run
while read -r module; do
    insmod "/boot/$module"
done </boot/order
mount -r -t ext4 "$(disk usr)" /usr
mount -r -t ext4 "$(disk modules)" /usr/lib/modules
mount -t debugfs debugfs /sys/kernel/debug
mount -t tracefs tracefs /sys/kernel/tracing
mount -t bpf bpffs /sys/fs/bpf
ip link set lo up
hostname lab

export PATH=/lab/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export HOME=/root DM_DISABLE_UDEV=1
export LAB_DATA="$(disk data)" LAB_HASH="$(disk hash)" LAB_DATA_ONE_QUEUE="$(disk single)"
. /lab/env

# On hardware udev loads it; newer kernels have it built in.
/sbin/modprobe -q sha256-ssse3

if [ -n "$network" ]; then
    /sbin/modprobe virtio_net
    ip address add 10.0.2.15/24 dev eth0
    ip link set eth0 up
fi

# The streams go through pipes, as a port can be opened only once and a job may want to open its
# /dev/stdout again.
mkfifo /run/out /run/err
cat /run/out >"$(port out)" &
cat /run/err >"$(port err)" &
exec 3>/run/out 4>/run/err

cd /root
if [ -n "$rows" ]; then
    terminal=/dev/hvc0
    until [ -c "$terminal" ]; do :; done
    # A terminal that nobody has open forgets its size.
    exec 5<>"$terminal"
    while read -r rows columns; do
        stty -F "$terminal" rows "$rows" cols "$columns"
    done <"$(port size)" &
    stty -F "$terminal" sane rows "$rows" cols "$columns"
    setsid -c /bin/sh /lab/job <&5 >&5 2>&1 3>&- 4>&- 5>&-
else
    setsid /bin/sh /lab/job </dev/null >&3 2>&4 3>&- 4>&-
fi
code=$?

if [ -f /lab/outputs ]; then
    cd /
    while IFS= read -r path; do
        find -L "${path#/}" \( -type d -o -type f \)
    done </lab/outputs | cpio -o -L -H newc >"$(port files)"
fi
printf '%s%s\n' "$mark" "$code" >&3
printf '%s%s\n' "$mark" "$code" >&4
wait
