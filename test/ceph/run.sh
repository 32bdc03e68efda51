#!/bin/bash
# run.sh: the end-to-end test with real cephfs and rbd clients (make test-ceph).
#
#   run.sh [arguments of go test...]
#
# Brings a Ceph cluster and a guest up, hangs one operation after the other, and
# checks that bin/hangtrace names each. VM_KERNEL (6.1) chooses the guest's
# kernel, HANGTRACE_CEPH_PATIENCE multiplies what everything gets of time on a
# busy machine. Two runs with the same state folder wait for each other; whatever
# happens, nothing stays behind.
# shellcheck source-path=SCRIPTDIR
set -eu
PROG=run.sh
HANGTRACE_CEPH_RUN=${HANGTRACE_CEPH_RUN:-}
# shellcheck source=lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"
[[ -n $HANGTRACE_CEPH_RUN ]] || RUN=$(cache_dir)/ceph/test
export HANGTRACE_CEPH_RUN=$RUN HANGTRACE_TEST_CEPH=1 HANGTRACE_CEPH_LOCKED=1
cd "$CEPH_DIR"

../vm/install.sh vm ceph
mkdir -p "$RUN"
exec 8>"$RUN.lock"
flock -w 900 8 || die "another run holds $RUN.lock"

tests=''
# shellcheck disable=SC2317,SC2329 # called by the trap
leave() {
  trap '' INT TERM HUP
  # The whole group: go, the test and the scripts that it runs.
  [[ -z $tests ]] || kill -TERM -- "-$tests" 2>/dev/null || true
  ./vm.sh down
  ./cephlab.sh down
}
trap leave EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# In the background, so that a signal does not have to wait. The children must
# not inherit the lock: it has to end with this process.
setsid go test -count=1 -v -timeout $((40 * ${HANGTRACE_CEPH_PATIENCE:-1}))m -run TestCeph "$@" . </dev/null 8>&- &
tests=$!
status=0
wait "$tests" || status=$?
tests=''
exit "$status"
