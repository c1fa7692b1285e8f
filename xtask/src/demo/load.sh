# Makes the recording that travels with the program: two devices, one with the option, reads of several
# sizes, and the limits changed midway where the kernel has them.
set -eu
limits=/sys/module/dm_verity/parameters/use_bh_bytes
veritysetup open --shared --use-tasklets "$LAB_DATA" root "$LAB_HASH" "$LAB_ROOT_HASH"
veritysetup open --shared "$LAB_DATA" usr "$LAB_HASH" "$LAB_ROOT_HASH"
verity-trace record -o /tmp/demo.vtrec --redact -- sh -c "
	fio --ioengine=libaio --direct=1 --time_based --runtime=12 --norandommap --randseed=1 --output=/dev/null \
		--name=root --filename=/dev/mapper/root --rw=randread --bssplit=4k/80:16k/10:64k/10 --iodepth=8 --rate_iops=150 \
		--name=usr --filename=/dev/mapper/usr --rw=read --bs=32k --iodepth=2 --rate_iops=50 &
	sleep 6
	! test -e $limits || echo 16384,0,16384,0 >$limits
	wait"
