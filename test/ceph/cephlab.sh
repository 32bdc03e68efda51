#!/bin/bash
# cephlab.sh: a throw-away Ceph cluster on one host, in a network namespace of
# its own, whose daemons can be frozen to make real CephFS and RBD hangs.
# shellcheck source-path=SCRIPTDIR
set -u
PROG=cephlab
# shellcheck source=lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"

usage() {
  cat <<'U'
usage: cephlab.sh up                  mon, mgr, one OSD, one MDS; file system "labfs", pool "rbd"
       cephlab.sh down                stop all of it and forget it (idempotent)
       cephlab.sh freeze DAEMON...    SIGSTOP; DAEMON is mds, osd, mon, mgr, fuse or all (but fuse)
       cephlab.sh thaw [DAEMON...]    SIGCONT (default all)
       cephlab.sh kill DAEMON         SIGKILL, as a crashed node; start brings it back
       cephlab.sh start mds|osd
       cephlab.sh fuse up             a ceph-fuse client at $HANGTRACE_CEPH_RUN/fuse, in a mount
                                      namespace of its own: nobody else walks into it
       cephlab.sh fuse hold PATH      open and write a file of it, and keep it open: its capabilities
       cephlab.sh fuse run COMMAND... run a command in that namespace
       cephlab.sh fuse down
       cephlab.sh cut | uncut         drop all packets of the cluster, as a dead network
       cephlab.sh status
       cephlab.sh ceph ARGS... | rbd ARGS... | netns COMMAND...
State: $HANGTRACE_CEPH_RUN (default: ceph/lab in the cache). Authentication is
off, the OSD keeps its data in memory. Daemons end after $HANGTRACE_CEPH_LIFE
seconds (default 7200) whatever happens.
U
}

FSID=6e5a0000-1ab0-4000-8000-00000000ceff
CONF=$RUN/ceph.conf
DAEMONS=(mds osd mgr mon)

ceph_cli() { in_netns timeout "${CEPH_TIMEOUT:-10}" ceph -c "$CONF" --connect-timeout 8 "$@"; }

# The grace is long because a test freezes the MDS for minutes, and a laggy MDS
# may restart itself when it is thawed.
write_conf() {
  cat >"$CONF" <<C
[global]
fsid = $FSID
mon host = [v2:$ADDR:3300,v1:$ADDR:6789]
mon initial members = a
public network = $ADDR/32
public addr = $ADDR
cluster addr = $ADDR
auth cluster required = none
auth service required = none
auth client required = none
ms bind ipv6 = false
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon warn on pool no redundancy = false
mon osd report timeout = 86400
mds beacon grace = 600
run dir = $RUN
log file = $RUN/log/\$name.log
admin socket = $RUN/\$name.asok
pid file = $RUN/ceph-\$type.cephpid
keyring = $RUN/keyring
crash dir = $RUN/crash
err to stderr = false
log to stderr = false
mon cluster log file = $RUN/log/cluster.log
debug ms = 0
osd memory target = 939524096
[mon]
mon data = $RUN/mon
mon data avail warn = 1
mon data avail crit = 1
[mds]
mds data = $RUN/mds
mds cache memory limit = 134217728
[mgr]
mgr data = $RUN/mgr
mgr initial modules =
[osd]
osd data = $RUN/osd
osd objectstore = memstore
memstore device bytes = 1073741824
osd class load list = *
osd class default list = *
[client]
client mount timeout = 30
C
}

pid_of() { recorded "$1" "/usr/bin/ceph-$1"; }
state_of() { awk '/^State/ {print $2}' "/proc/$(pid_of "$1")/status" 2>/dev/null; }

# start_daemon TYPE ARGS...: records the daemon's pid, not timeout's.
start_daemon() {
  local type=$1 parent p='' i
  shift
  pid_of "$type" >/dev/null && return 0
  # The lock's descriptor must not live on in the daemon.
  setsid nsenter "--net=/run/netns/$NETNS" timeout -k 5 "$LIFE" \
    "/usr/bin/ceph-$type" -f -c "$CONF" "$@" </dev/null >"$RUN/log/$type.out" 2>&1 9>&- &
  parent=$!
  for ((i = 0; i < 100; i++)); do
    p=$(tr -d ' ' <"/proc/$parent/task/$parent/children" 2>/dev/null)
    [[ -n $p && $(readlink "/proc/$p/exe" 2>/dev/null) == "/usr/bin/ceph-$type" ]] && break
    p=''
    sleep 0.05
  done
  [[ -n $p ]] || die "ceph-$type did not start: $(tail -3 "$RUN/log/$type.out")"
  echo "$p" >"$RUN/$type.pid"
}

# wait_for SECONDS WHAT COMMAND...
wait_for() {
  local until=$((SECONDS + $1)) what=$2
  shift 2
  while ((SECONDS <= until)); do
    "$@" >/dev/null 2>&1 && return 0
    sleep 0.2
  done
  die "timed out: $what; $(tail -n 3 "$RUN"/log/*.out 2>/dev/null | tail -n 12)"
}
mon_up() { CEPH_TIMEOUT=5 ceph_cli mon stat; }
osd_up() { ceph_cli osd stat | grep -q '1 up'; }
mds_active() { ceph_cli fs dump | grep -q 'up:active'; }

make_mon() {
  [[ ! -e $RUN/mon/store.db ]] || return 0
  : >"$RUN/keyring"
  monmaptool --create --clobber --fsid "$FSID" --addv a "[v2:$ADDR:3300,v1:$ADDR:6789]" "$RUN/monmap" >/dev/null ||
    die "monmaptool failed"
  in_netns timeout 60 ceph-mon -c "$CONF" --mkfs -i a --monmap "$RUN/monmap" >"$RUN/log/mkfs-mon.out" 2>&1 ||
    die "mon mkfs: $(tail -3 "$RUN/log/mkfs-mon.out")"
}

# A memstore is lost with its process: the OSD is made anew on every start.
make_osd() {
  local id uuid
  id=$(ceph_cli osd ls | head -1)
  if [[ -z $id ]]; then
    uuid=$(</proc/sys/kernel/random/uuid)
    id=$(ceph_cli osd new "$uuid") || die "osd new failed"
  else
    uuid=$(ceph_cli osd dump -f json | jq -r ".osds[] | select(.osd == $id) | .uuid")
  fi
  rm -rf "$RUN/osd"
  mkdir -p "$RUN/osd"
  in_netns timeout 60 ceph-osd -c "$CONF" -i "$id" --mkfs --osd-uuid "$uuid" >"$RUN/log/mkfs-osd.out" 2>&1 ||
    die "osd mkfs: $(tail -3 "$RUN/log/mkfs-osd.out")"
  echo "$id" >"$RUN/osd.id"
}

make_pools() {
  local p
  ceph_cli fs ls 2>/dev/null | grep -q labfs && return 0
  for p in cephfs_meta cephfs_data rbd; do
    ceph_cli osd pool create "$p" 8 >/dev/null 2>&1 || die "pool create $p failed"
  done
  ceph_cli osd pool application enable rbd rbd >/dev/null 2>&1
  ceph_cli fs new labfs cephfs_meta cephfs_data >/dev/null 2>&1 || die "fs new failed"
}

up() {
  local began
  began=$(now)
  need_commands ceph ceph-mon ceph-osd ceph-mds ceph-mgr ip nsenter jq monmaptool
  mkdir -p "$RUN"/{log,mon,mgr,osd,mds,crash}
  # What fails half way is taken down again.
  trap 'down' EXIT
  trap 'exit 125' INT TERM HUP
  make_netns
  write_conf
  make_mon
  start_daemon mon -i a
  wait_for 30 "mon quorum" mon_up
  start_daemon mgr -i x # statfs needs its PG statistics; comes up meanwhile
  if ! pid_of osd >/dev/null; then
    make_osd
    start_daemon osd -i "$(<"$RUN/osd.id")"
  fi
  wait_for 30 "osd up" osd_up
  make_pools
  start_daemon mds -i a
  wait_for 60 "mds active" mds_active
  trap - EXIT
  say "cluster ready in $(($(now) - began)) ms"
}

# The ceph-fuse client: what hangs on it must be seen by nobody but those who
# enter its mount namespace.
fuse_up() {
  local parent p='' i
  pid_of fuse >/dev/null && return 0
  mkdir -p "$RUN/fuse"
  setsid nsenter "--net=/run/netns/$NETNS" unshare -m --propagation private timeout -k 5 "$LIFE" \
    /usr/bin/ceph-fuse -f -c "$CONF" --client_mountpoint=/ "$RUN/fuse" </dev/null >"$RUN/log/fuse.out" 2>&1 9>&- &
  parent=$!
  for ((i = 0; i < 200; i++)); do
    p=$(tr -d ' ' <"/proc/$parent/task/$parent/children" 2>/dev/null)
    [[ -n $p ]] && grep -qs " $RUN/fuse fuse.ceph-fuse " "/proc/$p/mounts" && break
    p=''
    sleep 0.1
  done
  [[ -n $p ]] || { kill -KILL "$parent" 2>/dev/null; die "ceph-fuse did not mount: $(tail -3 "$RUN/log/fuse.out")"; }
  echo "$p" >"$RUN/fuse.pid"
}

fuse_run() { nsenter -t "$(pid_of fuse)" -m -n -- "$@"; }

fuse_hold() {
  local i
  rm -f "$RUN/held"
  # shellcheck disable=SC2016
  nsenter -t "$(pid_of fuse)" -m -n -- sh -c 'exec 3<>"$1" && echo held >&3 && touch "$2" && exec sleep "$3"' hold "$RUN/fuse/$1" "$RUN/held" "$LIFE" </dev/null >/dev/null 2>&1 9>&- &
  echo $! >"$RUN/holder.pid"
  for ((i = 0; i < 100; i++)); do
    [[ -e $RUN/held ]] && return 0
    sleep 0.1
  done
  die "cannot hold $1"
}

# A client that runs says good-bye, so that an MDS that restarts does not wait
# for it; one that is stopped is killed, and then nothing on its mount waits.
fuse_down() {
  local p i holder
  holder=$(recorded holder /usr/bin/sleep || recorded holder /bin/sleep)
  if p=$(pid_of fuse); then
    if [[ $(state_of fuse) == T ]]; then
      kill -KILL "$p"
    else
      [[ -z $holder ]] || kill -KILL "$holder"
      kill -TERM "$p"
      for ((i = 0; i < 30; i++)); do
        pid_of fuse >/dev/null || break
        sleep 0.1
      done
      kill -KILL "$p" 2>/dev/null
    fi
  fi
  [[ -z $holder ]] || kill -KILL "$holder" 2>/dev/null
  rm -f "$RUN/fuse.pid" "$RUN/holder.pid" "$RUN/held"
}

down() {
  local t p i
  trap '' INT TERM HUP
  uncut 2>/dev/null
  fuse_down
  for t in "${DAEMONS[@]}"; do
    if p=$(pid_of "$t"); then kill -KILL "$p"; fi # a stopped process dies of it, too
  done
  for ((i = 0; i < 50; i++)); do
    for t in "${DAEMONS[@]}"; do pid_of "$t" >/dev/null && { sleep 0.1; continue 2; }; done
    break
  done
  [[ ! -e /run/netns/$NETNS ]] || ip netns del "$NETNS"
  rm -rf "$RUN"/{mon,mgr,osd,mds,crash,monmap,keyring,osd.id} "$RUN"/*.asok "$RUN"/*.cephpid
  for t in "${DAEMONS[@]}"; do rm -f "$RUN/$t.pid"; done
}

# signal_daemons SIGNAL DAEMON...
signal_daemons() {
  local signal=$1 t p
  shift
  [[ $* != all ]] || set -- "${DAEMONS[@]}"
  for t in "$@"; do
    [[ " ${DAEMONS[*]} fuse " == *" $t "* ]] || die "no daemon '$t' (there are: ${DAEMONS[*]} all)"
    p=$(pid_of "$t") || { [[ $signal == CONT ]] && continue; die "ceph-$t does not run"; }
    kill "-$signal" "$p"
  done
}

# After a freeze longer than the PG read lease (16 s) a PG of a lone OSD can stay
# "laggy" for ever and block the MDS journal. Marked down it peers again, and the
# operations are queued anew.
thaw() {
  local before
  before=$(state_of osd)
  signal_daemons CONT "$@"
  if [[ $before == T && $(state_of osd) != T ]] && mon_up >/dev/null 2>&1; then
    ceph_cli osd down "$(<"$RUN/osd.id")" >/dev/null 2>&1
    wait_for 30 "osd up again" osd_up
  fi
}

cut_network() {
  local way
  for way in sport dport; do
    in_netns iptables -w -A INPUT -p tcp -m multiport "--${way}s" 3300,6789,6800:7300 -j DROP 2>/dev/null ||
      in_netns iptables-nft -w -A INPUT -p tcp "--$way" 3300:7300 -j DROP || die "iptables does not work here"
  done
}
uncut() {
  [[ -e /run/netns/$NETNS ]] || return 0
  in_netns iptables -w -F INPUT 2>/dev/null || in_netns iptables-nft -w -F INPUT
}

status() {
  local t p
  for t in "${DAEMONS[@]}"; do
    if p=$(pid_of "$t"); then echo "$t pid $p state $(state_of "$t")"; else echo "$t is not running"; fi
  done
  [[ ! -e /run/netns/$NETNS ]] || ceph_cli -s
}

# up and down must not meet another up or down of the same lab.
locked() {
  mkdir -p "$(dirname "$RUN")"
  exec 9>"$RUN.updown"
  flock -w 120 9 || die "another up or down of $RUN is under way"
  "$@"
}

case ${1:-} in
  up | down) locked "$1" ;;
  freeze) shift; signal_daemons STOP "${@:-all}" ;;
  thaw) shift; thaw "${@:-all}" ;;
  kill) signal_daemons KILL "${2:?daemon}"; rm -f "$RUN/$2.pid" ;;
  start)
    case ${2:-} in
      mds) start_daemon mds -i a ;;
      osd) make_osd; start_daemon osd -i "$(<"$RUN/osd.id")" ;;
      *) usage >&2; exit 2 ;;
    esac ;;
  fuse)
    case ${2:-} in
      up | down) "fuse_$2" ;;
      run | hold) what=$2; shift 2; "fuse_$what" "$@" ;;
      *) usage >&2; exit 2 ;;
    esac ;;
  cut) cut_network ;;
  uncut) uncut ;;
  status) status ;;
  ceph) shift; ceph_cli "$@" ;;
  rbd) shift; in_netns timeout 60 rbd -c "$CONF" "$@" ;;
  netns) shift; in_netns "$@" ;;
  -h | --help) usage ;;
  *) usage >&2; exit 2 ;;
esac
