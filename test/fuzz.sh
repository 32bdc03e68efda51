#!/bin/bash
# fuzz.sh: runs every fuzzer of the project, one after the other.
#
#   fuzz.sh [TIME [NAME...]]   TIME for each (default 10s, or 3000x: so many
#                              inputs), only those NAMEs
#
# What a fuzzer finds stays in its package's testdata/fuzz, to be fixed and
# committed. Ends non-zero if any found something.
set -eu
cd "$(dirname "$(readlink -f "$0")")/.."
time=${1:-10s}
(($#)) && shift

found=()
while IFS=: read -r file function; do
  name=${function#func }
  name=${name%%(*}
  (($#)) && [[ " $* " != *" $name "* ]] && continue
  printf '%-24s ./%s\n' "$name" "$(dirname "$file")"
  if ! out=$(go test -run '^$' -fuzz "^$name\$" -fuzztime "$time" "./$(dirname "$file")" 2>&1); then
    # The go tool calls it a failure when its clock runs out within an input.
    if grep -q 'context deadline exceeded' <<<"$out" && ! grep -qE 'Failing input|panic' <<<"$out"; then continue; fi
    printf '%s\n' "$out"
    found+=("$name")
    continue
  fi
  grep 'fuzz: elapsed' <<<"$out" | tail -n 1 || true
done < <(git grep -o 'func Fuzz[A-Za-z0-9]*(' -- '*_test.go')
((${#found[@]} == 0)) || { echo "fuzz.sh: ${found[*]}: found something (see above)" >&2; exit 1; }
