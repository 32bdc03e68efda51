#!/bin/bash
# fuzz.sh: runs every fuzzer of the project, one after the other or some at once.
#
#   fuzz.sh [-j JOBS] [TIME [NAME...]]
#
#   TIME  for each (default 10s, or 3000x: so many inputs)
#   NAME  only those
#   -j    so many at once, one worker each; default: one, with a worker a core
#
# What a fuzzer finds stays in its package's testdata/fuzz, to be fixed and
# committed. Ends non-zero if any found something.
set -eu
cd "$(dirname "$(readlink -f "$0")")/.."
jobs=1
if [[ ${1:-} == -j ]]; then
  jobs=$2
  shift 2
fi
time=${1:-10s}
(($#)) && shift
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

# one NAME PACKAGE fuzzes, and keeps what was printed if something was found.
one() {
  local said options=()
  ((jobs == 1)) || options=(-parallel 1)
  if ! said=$(go test -run '^$' -fuzz "^$1\$" -fuzztime "$time" ${options[@]+"${options[@]}"} "$2" 2>&1); then
    # The go tool calls it a failure when its clock runs out within an input.
    if ! grep -q 'context deadline exceeded' <<<"$said" || grep -qE 'Failing input|panic' <<<"$said"; then
      printf '%s\n' "$said" >"$out/$1"
    fi
  fi
  printf '%-24s %s %s\n' "$1" "$2" "$(grep 'fuzz: elapsed' <<<"$said" | tail -n 1)"
}

while IFS=: read -r file function; do
  name=${function#func }
  name=${name%%(*}
  (($#)) && [[ " $* " != *" $name "* ]] && continue
  while (($(jobs -rp | wc -l) >= jobs)); do wait -n; done
  one "$name" "./$(dirname "$file")" &
done < <(git grep -o 'func Fuzz[A-Za-z0-9]*(' -- '*_test.go')
wait
found=("$out"/*)
[[ -e ${found[0]} ]] || exit 0
cat "${found[@]}"
echo "fuzz.sh: ${found[*]##*/}: found something (see above)" >&2
exit 1
