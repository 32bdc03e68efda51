#!/bin/busybox sh
# shellcheck shell=dash
# Process 1 of the guest: mounts what a node has, loads $LOAD, runs /vmtest/cmd,
# tells the host the exit status and powers off. Output and status go through
# three virtio ports.
/bin/busybox mkdir -p /proc /sys /dev /tmp /run /root /mnt /share /out /sbin /usr/bin /usr/sbin /etc /var/log /var/lib
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev 2>/dev/null
/bin/busybox --install -s /bin
export PATH=/bin:/sbin:/usr/bin:/usr/sbin HOME=/root TERM=dumb
ln -sf /bin/busybox /sbin/modprobe
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
mount -t tracefs tracefs /sys/kernel/tracing 2>/dev/null
mount -t debugfs debugfs /sys/kernel/debug 2>/dev/null
mount -t bpf bpf /sys/fs/bpf 2>/dev/null
mount -t cgroup2 cgroup2 /sys/fs/cgroup 2>/dev/null
ln -s /proc/self/fd /dev/fd
ln -s /proc/self/fd/0 /dev/stdin
ln -s /proc/self/fd/1 /dev/stdout
ln -s /proc/self/fd/2 /dev/stderr
echo root:x:0:0:root:/root:/bin/sh >/etc/passwd
echo root:x:0: >/etc/group
hostname vmtest
ip link set lo up 2>/dev/null

LOAD='' SHARE='' OUT=''
# shellcheck source=/dev/null
. /vmtest/env
for m in $LOAD; do insmod "/lib/modules/$(uname -r)/$m.ko" || echo "vmtest-init: insmod $m failed"; done
[ -d /sys/fs/fuse/connections ] && mount -t fusectl fusectl /sys/fs/fuse/connections 2>/dev/null

ports() { for n in out err rc; do [ -c "/dev/virtio-ports/vmtest.$n" ] || return 1; done; }
i=0
while ! ports && [ $i -lt 1000 ]; do
	for p in /sys/class/virtio-ports/*; do
		n=$(cat "$p/name" 2>/dev/null)
		[ -n "$n" ] && mkdir -p /dev/virtio-ports && ln -sf "/dev/${p##*/}" "/dev/virtio-ports/$n"
	done
	i=$((i + 1))
	ports || usleep 10000
done
ports || {
	echo "vmtest-init: virtio ports missing"
	echo o >/proc/sysrq-trigger
	sleep 5
}
[ -n "$SHARE" ] && mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144,ro share /share
[ -n "$OUT" ] && mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144 out /out
mount --make-rshared /

cd /root || exit
uptime_now() { cut -d' ' -f1 /proc/uptime; }
began=$(uptime_now)
echo "vmtest-init: command starts at $began"
setsid sh /vmtest/cmd </vmtest/stdin >/dev/virtio-ports/vmtest.out 2>/dev/virtio-ports/vmtest.err
rc=$?
ended=$(uptime_now)
echo "vmtest-init: command ended $rc at $ended"
echo "$rc $began $ended" >/dev/virtio-ports/vmtest.rc
echo 1 >/proc/sys/kernel/sysrq
echo o >/proc/sysrq-trigger
sleep 1
poweroff -f
