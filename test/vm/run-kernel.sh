#!/bin/bash
# run-kernel.sh: runs the privileged tests, as a static test binary, on other kernels.
# shellcheck source-path=SCRIPTDIR
set -u
# shellcheck disable=SC2034 # for say
PROG=run-kernel.sh
HERE=$(dirname "$(readlink -f "$0")")
# shellcheck source=lib/common.sh
. "$HERE/lib/common.sh"
ROOT=$(readlink -f "$HERE/../..")

usage() {
  cat <<'U'
usage: run-kernel.sh [options] KERNELS TESTBIN [ARG...]
KERNELS  aliases of vmtest, separated by spaces or commas; arm64 as 6.12-arm64.
         "all": 5.10 6.1 6.12 7.2 6.12-arm64
TESTBIN  a static test binary (CGO_ENABLED=0 go test -c -o FILE PACKAGE), made
         for the kernel's architecture: {arch} in the name becomes amd64 or arm64
ARG...   for the test binary; default -test.v
  -b FILE   the program under test, {arch} as above; default bin/hangtrace for
            amd64 and bin/hangtrace-arm64 for arm64, where they exist
  -d DIR    the package's folder (its testdata): the working directory in the guest
  -m MODS   modules (default fuse)
  -t SEC    time limit of one kernel (default 300)
  -e VAR=VALUE  set a variable for the tests
  -l DIR    keep the output and the console of each kernel there
In the guest the program is /bin/hangtrace, HANGTRACE_BIN names it, and
HANGTRACE_REQUIRE_BPF=1 is set, so that no privileged test can be left out.
Exit status: 0 if the tests pass on every kernel, else 1; a table comes last.
U
}

DIR='' MODULES=fuse LIMIT=300 LOGS='' PROGRAM='' ENVS=()
while getopts b:d:m:t:l:e:h o; do
  case $o in
    b) PROGRAM=$OPTARG ;; d) DIR=$(readlink -f "$OPTARG") ;; m) MODULES=$OPTARG ;;
    e) ENVS+=(-e "$OPTARG") ;; t) LIMIT=$OPTARG ;; l) LOGS=$OPTARG ;; h) usage; exit 0 ;; *) usage >&2; exit 2 ;;
  esac
done
shift $((OPTIND - 1))
(($# >= 2)) || { usage >&2; exit 2; }
kernels=${1//,/ } binary=$2
shift 2
(($#)) || set -- -test.v
[[ $kernels != all ]] || kernels='5.10 6.1 6.12 7.2 6.12-arm64'
if [[ -z $LOGS ]]; then
  LOGS=$(mktemp -d)
  trap 'rm -rf "$LOGS"' EXIT
fi
mkdir -p "$LOGS"

# for_arch NAME ARCH replaces {arch}.
for_arch() { echo "${1//\{arch\}/$2}"; }

program_for() {
  if [[ -n $PROGRAM ]]; then for_arch "$PROGRAM" "$1"; return; fi
  case $1 in amd64) echo "$ROOT/bin/hangtrace" ;; *) echo "$ROOT/bin/hangtrace-$1" ;; esac
}

# run_one KERNEL LOG ARG...
run_one() {
  local kernel=$1 log=$2 arch=amd64 test program options=()
  shift 2
  case $kernel in *-arm64) arch=arm64 kernel=${kernel%-arm64} ;; esac
  test=$(for_arch "$binary" "$arch")
  [[ -f $test ]] || { echo "no test binary $test" >&2; return 125; }
  program=$(program_for "$arch")
  if [[ -f $program ]]; then
    options+=(-f "$program:/bin/hangtrace" -e HANGTRACE_BIN=/bin/hangtrace)
  elif [[ -n $PROGRAM ]]; then
    echo "no program $program" >&2
    return 125
  fi
  [[ -z $DIR ]] || options+=(-s "$DIR")
  # The package's folder is read-only in the guest, as it should be to a test.
  # shellcheck disable=SC2016 # the guest's shell expands it
  "$HERE/vmtest" -v -a "$arch" -m "$MODULES" -t "$LIMIT" -l "$log.console" -e HANGTRACE_REQUIRE_BPF=1 ${ENVS[@]+"${ENVS[@]}"} \
    -e "HANGTRACE_KERNEL=${kernel#linux-image-}" -f "$test:/bin/e2e.test" ${options[@]+"${options[@]}"} "$kernel" -- \
    sh -c '[ -z "$1" ] || cd /share; shift; exec /bin/e2e.test "$@"' sh "$DIR" "$@" </dev/null
}

failed=0 table=()
for k in $kernels; do
  log=$LOGS/$k
  began=$(now)
  say "$k ..."
  run_one "$k" "$log" "$@" 2>&1 | tee "$log.log"
  rc=${PIPESTATUS[0]}
  took=$(($(now) - began))
  passed=$(grep -cE '^ *--- PASS' "$log.log") skipped=$(grep -cE '^ *--- SKIP' "$log.log") bad=$(grep -cE '^ *--- FAIL' "$log.log")
  # A test binary that never ran its tests must not count as passed.
  if ((rc == 0)) && { ! grep -qx PASS "$log.log" || grep -q 'no tests to run' "$log.log"; }; then rc=126; fi
  verdict=ok
  if ((rc != 0)); then
    verdict="FAILED ($rc)" failed=1
    if [[ -s $log.console ]]; then
      echo "--- console of $k:"
      tail -n 20 "$log.console"
    fi
  fi
  table+=("$(printf '%-14s %-14s %4d passed %3d skipped %3d failed %7d ms' "$k" "$verdict" "$passed" "$skipped" "$bad" "$took")")
done
printf '%s\n' "${table[@]}"
exit "$failed"
