# Opens two devices, one with the option, keeps them busy with reads of several sizes, and shows them. What
# veritysetup and fio say has no place on the screen.
set -eu
{
	veritysetup open --shared --use-tasklets "$LAB_DATA" root "$LAB_HASH" "$LAB_ROOT_HASH"
	veritysetup open --shared "$LAB_DATA" usr "$LAB_HASH" "$LAB_ROOT_HASH"
	fio --ioengine=libaio --direct=1 --time_based --runtime=1d --norandommap --randseed=1 \
		--name=root --filename=/dev/mapper/root --rw=randread --bssplit=4k/80:16k/10:64k/10 --iodepth=8 --rate_iops=150 \
		--name=usr --filename=/dev/mapper/usr --rw=read --bs=32k --iodepth=2 --rate_iops=50 &
} </dev/null >/dev/null 2>&1
LANG=C.UTF-8 exec verity-trace
