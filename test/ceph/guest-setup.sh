# shellcheck shell=dash
# Runs in the guest, on a healthy cluster: makes what a kubelet, a CSI driver and
# a container runtime leave on a node, over real cephfs and rbd mounts. In:
# MONITOR and the names below from the test's table.
set -e
: "${MONITOR:?}" "${FLAT_UID:?}" "${CSI_UID:?}" "${RBD_UID:?}" "${GONE_UID:?}" "${LAZY_UID:?}" "${XFS_UID:?}"
root=/var/lib/kubelet
pods=$root/pods
csi=$root/plugins/kubernetes.io/csi

# What is dirty stays dirty until somebody waits for it: on a slow machine the
# periodic writeback would be done before the servers are silent.
echo 0 >/proc/sys/vm/dirty_writeback_centisecs

# The trees, made through a mount of their own: what this client has seen is in
# its cache and would not hang.
seed=/tmp/seed
mkdir -p $seed
mount -t ceph "$MONITOR:6789:/" $seed -o name=admin
mkdir -p $seed/flat $seed/gone $seed/lazy $seed/volumes/csi/csi-vol-1/sub
for v in $seed/flat $seed/lazy $seed/volumes/csi/csi-vol-1; do
	for d in $DIRS; do
		mkdir -p "$v/$d/empty"
		echo x >"$v/$d/file"
	done
	echo warm >"$v/warm"
	dd if=/dev/urandom of="$v/big" bs=64k count=4 2>/dev/null
	cp "$v/big" "$v/big2"
	cp "$v/big" "$v/dirty"
done
echo x >$seed/volumes/csi/csi-vol-1/sub/file
sync
umount $seed

# An umount gives a silent MDS up after mount_timeout (60 s), which a slow
# machine needs for less.
mount_cephfs() { mkdir -p "$2" && mount -t ceph "$MONITOR:6789:$1" "$2" -o name=admin,mount_timeout=600; }
bind() { mkdir -p "$2" && mount -o bind "$1" "$2"; }
# vol_data FOLDER DRIVER PV HANDLE
vol_data() {
	mkdir -p "$1"
	cat >"$1/vol_data.json" <<J
{"attachmentID":"csi-0","driverName":"$2","nodeName":"cephvm","specVolID":"$3","volumeHandle":"$4","volumeLifecycleMode":"Persistent"}
J
}
# global FOLDER of a volume: kubelet names it by the SHA-256 of the handle
global() { echo "$csi/$1/$(printf %s "$2" | sha256sum | cut -d' ' -f1)"; }

mkdir -p $root
# As the kubelet does; with a peer group of its own, or each mount below would
# appear a second time under it.
mount -o bind $root $root
mount --make-private $root
mount --make-shared $root

# 1. In-tree plugin: mounted directly below the pod.
mount_cephfs /flat "$pods/$FLAT_UID/volumes/kubernetes.io~cephfs/data"

# 2. CSI: staged in globalmount, bound below the pod, a subPath bound once more.
g=$(global cephfs.csi.ceph.com "$CSI_HANDLE")
vol_data "$g" cephfs.csi.ceph.com "$CSI_PV" "$CSI_HANDLE"
mount_cephfs /volumes/csi/csi-vol-1 "$g/globalmount"
vol_data "$pods/$CSI_UID/volumes/kubernetes.io~csi/$CSI_PV" cephfs.csi.ceph.com "$CSI_PV" "$CSI_HANDLE"
bind "$g/globalmount" "$pods/$CSI_UID/volumes/kubernetes.io~csi/$CSI_PV/mount"
bind "$g/globalmount/sub" "$pods/$CSI_UID/volume-subpaths/$CSI_PV/app/0"

# 3. CSI over rbd: ext4 on a mapped image.
# map IMAGE N
map() {
	echo "$MONITOR:6789 name=admin rbd $1 -" >/sys/bus/rbd/add_single_major
	# shellcheck disable=SC2034
	for i in 1 2 3 4 5 6 7 8 9 10; do
		[ -b "/dev/rbd$2" ] && break
		sleep 0.2
	done
}
map vol 0
g=$(global rbd.csi.ceph.com "$RBD_HANDLE")
vol_data "$g" rbd.csi.ceph.com "$RBD_PV" "$RBD_HANDLE"
mkdir -p "$g/globalmount/$RBD_HANDLE"
# A slow machine must not see the journal commit before the servers are silent.
mount -t ext4 -o commit=30 /dev/rbd0 "$g/globalmount/$RBD_HANDLE"
vol_data "$pods/$RBD_UID/volumes/kubernetes.io~csi/$RBD_PV" rbd.csi.ceph.com "$RBD_PV" "$RBD_HANDLE"
bind "$g/globalmount/$RBD_HANDLE" "$pods/$RBD_UID/volumes/kubernetes.io~csi/$RBD_PV/mount"

# XFS by the plugin of old, filled here and mounted anew: nothing is cached.
map volx 1
x="$pods/$XFS_UID/volumes/kubernetes.io~rbd/xvol"
mkdir -p "$x"
mount -t xfs /dev/rbd1 "$x"
mkdir "$x/d"
dd if=/dev/urandom of="$x/big" bs=64k count=4 2>/dev/null
cp "$x/big" "$x/dirty"
umount "$x"
mount -t xfs /dev/rbd1 "$x"

# 4. A volume that is idle, to be unmounted while its server is silent, and one
# that is unmounted lazily while it hangs.
mount_cephfs /gone "$pods/$GONE_UID/volumes/kubernetes.io~cephfs/gone"
mount_cephfs /lazy "$pods/$LAZY_UID/volumes/kubernetes.io~cephfs/lazy"

# What the container runtime leaves: the name of each pod that it still knows.
for p in shop_web-0_"$FLAT_UID" shop_db-0_"$CSI_UID" shop_cache-0_"$RBD_UID"; do
	mkdir -p "/var/log/pods/$p/app"
done
