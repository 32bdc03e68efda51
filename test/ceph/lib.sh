# shellcheck shell=bash source-path=SCRIPTDIR
# Sourced by cephlab.sh, vm.sh and run.sh: names and places of one lab. Two labs
# with different HANGTRACE_CEPH_RUN do not meet.
CEPH_DIR=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
# shellcheck source=../vm/lib/common.sh
. "$CEPH_DIR/../vm/lib/common.sh"
RUN=${HANGTRACE_CEPH_RUN:-$(cache_dir)/ceph/lab}
NETNS=hangtrace-$(basename "$RUN")
ADDR=10.99.0.1
# shellcheck disable=SC2034 # used by the others
AGENT_PORT=2222
# Every daemon runs under timeout(1), so that nothing outlives a forgotten lab.
# shellcheck disable=SC2034
LIFE=${HANGTRACE_CEPH_LIFE:-7200}

# in_netns runs a command in the lab's network namespace but in the host's mount
# namespace (`ip netns exec` would make a private one).
in_netns() { nsenter "--net=/run/netns/$NETNS" "$@"; }

make_netns() {
  [[ -e /run/netns/$NETNS ]] || ip netns add "$NETNS" || die "cannot make the network namespace $NETNS (try: run it as root)"
  in_netns ip link set lo up
  in_netns ip -o addr show dev lo | grep -q " $ADDR/" || in_netns ip addr add "$ADDR/24" dev lo
}

# recorded NAME EXE: print the pid in RUN/NAME.pid if that process still runs
# EXE. Nothing is ever signalled by name.
recorded() {
  local p
  p=$(cat "$RUN/$1.pid" 2>/dev/null) && [[ -n $p && $(readlink "/proc/$p/exe" 2>/dev/null) == "$2" ]] && echo "$p"
}
