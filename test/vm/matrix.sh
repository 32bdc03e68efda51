#!/bin/bash
# matrix.sh: the BPF programs and every command on every kernel, as a table.
# shellcheck source-path=SCRIPTDIR
set -u
# shellcheck disable=SC2034 # for say
PROG=matrix.sh
HERE=$(dirname "$(readlink -f "$0")")
# shellcheck source=lib/common.sh
. "$HERE/lib/common.sh"
ROOT=$(readlink -f "$HERE/../..")

usage() {
  cat <<'U'
usage: matrix.sh [-q] [-l DIR] [-t SEC] [KERNELS]
KERNELS   as for run-kernel.sh; default all
  -q      quick: one test or two of each column
  -l DIR  keep what each kernel printed there (default bin/vm)
  -t SEC  time limit of one boot (default 900)
Boots each kernel twice: for the tests of the loader, and for a choice of the
end-to-end tests: each command on a frozen FUSE. A guest is 10 to 30 times as slow
as a machine, so HANGTRACE_SLOW (default 6) multiplies every time limit.
Wants bin/hangtrace, bin/hangtrace-arm64 and bin/{loader,e2e}-{amd64,arm64}.test:
make test-vm makes them. Exit status: 0 if every test passes on every kernel.
U
}

LOGS=$ROOT/bin/vm LIMIT=900 QUICK=0
while getopts ql:t:h o; do
  case $o in q) QUICK=1 ;; l) LOGS=$OPTARG ;; t) LIMIT=$OPTARG ;; h) usage; exit 0 ;; *) usage >&2; exit 2 ;; esac
done
shift $((OPTIND - 1))
kernels=${1:-all}
kernels=${kernels//,/ }
[[ $kernels != all ]] || kernels='5.10 6.1 6.12 7.2 6.12-arm64'
slow=${HANGTRACE_SLOW:-6}

# The columns, and the tests of each: those whose names begin so.
programs='Sizes$|Preempted|OneProgramOfEachCall|PerfProgramsAttach|RestingThreads|RestsAreForgotten|Sweep|WalkJoins|WalkSeesDetachedMount'
commands=(
  'report:ReportNamesEveryOperation|DetachedMountIsStillNamed'
  'live:LiveFollowsAHang|LiveNamesEveryOperation|LiveTimesAPageFault|UmountThatReturned|LiveSeesTheEnd'
  'strace:StraceShowsWhatHangsAlready|StraceFollowsAHang|StraceSeesEveryCall'
  'scan:ScanHungMount|ScanDetached$|ScanStuckUmount'
  'stacks:StacksOfHung'
  'check:CheckFindsAHang|CheckUnknown'
  'doctor:DoctorTells|StatsOf'
)
if ((QUICK)); then
  programs='Sizes$|Preempted|OneProgramOfEachCall|PerfProgramsAttach|WalkJoinsFuseRequests'
  commands=(report:ReportNamesEveryOperation live:LiveFollowsAHang strace:StraceShowsWhatHangsAlready
    scan:ScanHungMount stacks:StacksOfHung check:CheckFindsAHang 'doctor:DoctorTells|StatsOfStrace')
fi
all=''
for c in "${commands[@]}"; do all+="${all:+|}${c#*:}"; done

rm -rf "$LOGS/loader" "$LOGS/e2e" "$LOGS/table"
run() { # NAME FOLDER TESTS
  "$HERE/run-kernel.sh" -d "$ROOT/$2" -m fuse,loop -t "$LIMIT" -l "$LOGS/$1" -e "HANGTRACE_SLOW=$slow" "$kernels" \
    "$ROOT/bin/$1-{arch}.test" -test.v -test.timeout 0 -test.run "^Test($3)"
}
failed=0 began=$(now)
run loader internal/loader "$programs" || failed=1
run e2e test/e2e "$all" || failed=1

# cell LOG TESTS tells how many of a column's tests passed.
cell() {
  local log=$1 tests=${2//\$/( |\$)} pass fail skip
  # A victim's last words on the console have no line of their own.
  count() { grep -cE "(^|[^[:space:]])--- $1: Test($tests)" "$log" 2>/dev/null; }
  pass=$(count PASS) fail=$(count FAIL) skip=$(count SKIP)
  # A test that began and did not end is a failure, too.
  fail=$((fail + $(grep -E "^=== RUN +Test($tests)" "$log" 2>/dev/null | grep -vc /) - pass - fail - skip))
  if ((fail)); then echo "$fail FAILED"; elif ((pass)); then echo "ok $pass${skip:+$( ((skip)) && echo " -$skip")}"; elif ((skip)); then echo "skipped $skip"; else echo "nothing"; fi
}

{
  printf '%s' "kernel | programs"
  for c in "${commands[@]}"; do printf ' | %s' "${c%%:*}"; done
  echo
  for k in $kernels; do
    printf '%s | %s' "$k" "$(cell "$LOGS/loader/$k.log" "$programs")"
    for c in "${commands[@]}"; do printf ' | %s' "$(cell "$LOGS/e2e/$k.log" "${c#*:}")"; done
    echo
  done
} | column -t -s '|' -o '|' | tee "$LOGS/table"
if grep -qE 'FAILED|nothing' "$LOGS/table"; then failed=1; fi
say "$((($(now) - began) / 1000)) s; tests passed, -N: left out, as the kernel or the guest lacks what they need"
exit "$failed"
