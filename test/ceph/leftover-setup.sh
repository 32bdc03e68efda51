# shellcheck shell=dash
# Runs in the guest, on a healthy cluster: a node whose pods have one volume
# each, ready to be left behind. In: MONITOR, and VOLUMES, a line "KIND NAME UID
# POINT" for each. KIND is cephfs; contained, which a container's own mount
# namespace has, too; fuse for ceph-fuse; rbd for ext4 on the image csi-vol-UID, which
# become /dev/rbd0 and so on, in order; image for an image that nobody uses yet.
set -e
: "${MONITOR:?}" "${VOLUMES:?}"
root=/var/lib/kubelet
mkdir -p /etc/ceph /var/run/ceph /run/lab
cat >/etc/ceph/ceph.conf <<C
[global]
mon host = $MONITOR:6789
auth cluster required = none
auth service required = none
auth client required = none
[client]
log file =
admin socket =
C

# each KINDS COMMAND: runs it with name, uid and point set.
each() {
	while read -r kind name uid point; do
		case " $1 " in *" $kind "*) "$2" ;; esac
	done <<V
$VOLUMES
V
}

# The trees, made through a mount of their own: what a client has seen is in its
# cache and would not hang.
seed() {
	mkdir -p "/run/seed/$name/dir"
	echo x >"/run/seed/$name/dir/file"
	dd if=/dev/urandom of="/run/seed/$name/big" bs=64k count=4 2>/dev/null
}
mkdir -p /run/seed
mount -t ceph "$MONITOR:6789:/" /run/seed -o name=admin
each "cephfs contained fuse" seed
sync
umount /run/seed

# As the kubelet does; private first, or each mount below would appear a second
# time under it.
mkdir -p $root
mount -o bind $root $root
mount --make-private $root
mount --make-shared $root

# The directory of a pod and what the container runtime leaves of it.
pod() {
	mkdir -p "/var/log/pods/shop_${name}_$uid/app" "$point"
	case $point in */kubernetes.io~csi/*) ;; *) return 0 ;; esac
	driver=cephfs
	case $kind in rbd | image) driver=rbd ;; esac
	cat >"$(dirname "$point")/vol_data.json" <<J
{"attachmentID":"csi-0","driverName":"$driver.csi.ceph.com","nodeName":"cephvm","specVolID":"pvc-$name","volumeHandle":"handle-$name-$uid","volumeLifecycleMode":"Persistent"}
J
}
each "cephfs contained fuse rbd image" pod

cephfs() { mount -t ceph "$MONITOR:6789:/$name" "$point" -o name=admin,mount_timeout=600; }
# Its process starts before the other volumes are there, and so has only its own.
contained() {
	cephfs
	/usr/bin/unshare --mount --propagation private sleep 100000 >/dev/null 2>&1 </dev/null &
	echo $! >"/run/lab/$name.container"
	sleep 1
}
fuse() {
	/usr/bin/ceph-fuse -n client.admin -r "/$name" -o allow_other "$point" >"/run/lab/$name.fuse" 2>&1
	for p in $(pidof ceph-fuse); do
		if tr '\0' ' ' <"/proc/$p/cmdline" | grep -q -- "-r /$name "; then echo "$p" >"/run/lab/$name.daemon"; fi
	done
	[ -s "/run/lab/$name.daemon" ]
}
rbd() {
	echo "$MONITOR:6789 name=admin rbd csi-vol-$uid -" >/sys/bus/rbd/add_single_major
	echo "$name" >>/run/lab/images
	device=/dev/rbd$(($(wc -l </run/lab/images) - 1))
	# shellcheck disable=SC2034
	for i in 1 2 3 4 5 6 7 8 9 10; do
		[ -b "$device" ] && break
		sleep 0.2
	done
	mount -t ext4 "$device" "$point"
}
# Processes that are called as on a real node.
for p in kubelet df; do cp /bin/labguest /run/lab/$p; done
each contained contained
each cephfs cephfs
each fuse fuse
each rbd rbd
