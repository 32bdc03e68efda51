#!/usr/bin/env bash
# race.sh: the tests with Go's race detector, as root: that of the packages in the
# tests themselves, that of the end-to-end tests in the program that they run.
#
#   race.sh [arguments of go test for the end-to-end tests]
#
# What the detector says is kept in files, as a program that is wanted to fail
# would fail to nobody's surprise. Ends non-zero if it said anything, or if a test
# fails, an end-to-end test twice.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."

# With the detector a program takes several times the memory and time, which these
# end-to-end tests bound: of a program that ends at once strace mode cannot open the files in
# time, and at a high rate it loses more.
skip='TenThousand|200HungMounts|ScanHealthyNode|UnderLoad|StraceStacksAreStraces'

mkdir -p bin
dir=$(mktemp -d -p "$PWD/bin" race.XXXXXX)
trap 'rm -rf "$dir"' EXIT
# Some tests run the program as another user.
chmod 755 "$dir"
mkdir -m 1777 "$dir/said"
export GORACE="log_path=$dir/said/race" HANGTRACE_SLOW=${HANGTRACE_SLOW:-3}
# Static, as some tests run it in a container that has nothing else; the detector
# needs cgo, the program does without its resolver.
go build -race -tags urfave_cli_no_docs,netgo,osusergo -ldflags '-linkmode external -extldflags -static' \
	-o "$dir/hangtrace" ./cmd/hangtrace
failed=0
go test -race -timeout 20m ./bpf/... ./cmd/... ./internal/... || failed=1
e2e() { HANGTRACE_BIN=$dir/hangtrace go test -count=1 -timeout 30m "$@" ./test/e2e; }
# What fails has a second try, as most fails for want of time, and make test decides
# of that. What the detector said stays.
if ! e2e -skip "$skip" "$@" | tee "$dir/e2e"; then
	again=$(sed -n 's/^--- FAIL: \(Test[A-Za-z0-9_]*\).*/\1/p' "$dir/e2e" | paste -sd'|')
	[ -n "$again" ] || failed=1
	[ -z "$again" ] || e2e -run "^($again)\$" || failed=1
fi
for said in "$dir"/said/*; do
	[ -e "$said" ] || continue
	cat "$said"
	failed=1
done
exit "$failed"
