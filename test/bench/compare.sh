#!/usr/bin/env bash
# Runs the Go benchmarks of this tree and of an earlier commit in turn, and has
# benchstat say what differs. It informs and does not decide: a machine that is
# busy in one round and not in the next shows differences that are none.
#
#   test/bench/compare.sh [COMMIT]     the last one older than a day, without
set -euo pipefail
cd "$(dirname "$0")/../.."

benchstat=golang.org/x/perf/cmd/benchstat@v0.0.0-20260908200009-22c9c6c9d4da
packages=(events strace syscalls/decode report mounts correlate expendable)
rounds=${ROUNDS:-6}

base=${1:-$(git rev-list -1 --before='24 hours ago' HEAD)}
if [ -z "$base" ] || [ "$(git rev-parse "$base")" = "$(git rev-parse HEAD)" ]; then
	echo "no commit older than a day to compare with: name one" >&2
	exit 0
fi
dir=$(mktemp -d)
trap 'git worktree remove --force "$dir/base" 2>/dev/null || true; rm -rf "$dir"' EXIT
git worktree add --quiet --detach "$dir/base" "$base"

for p in "${packages[@]}"; do
	name=${p//\//-}
	go test -c -o "$dir/$name.new" "./internal/$p"
	# What an earlier commit does not have, or cannot build here, is new.
	(cd "$dir/base" && go test -c -o "$dir/$name.old" "./internal/$p") || true
done
for _ in $(seq "$rounds"); do
	for p in "${packages[@]}"; do
		for side in old new; do
			program=$dir/${p//\//-}.$side
			[ -x "$program" ] || continue
			tree=$PWD
			[ "$side" = new ] || tree=$dir/base
			(cd "$tree/internal/$p" && "$program" -test.run '^$' -test.bench . -test.benchmem -test.benchtime 30ms) >>"$dir/$side.txt"
		done
	done
done
echo "$(git rev-parse --short "$base") (old) and this tree (new), $rounds rounds in turn:"
(cd "$dir" && go run "$benchstat" old.txt new.txt) | grep -v -e '^¹' -e '^²' -e '^³' -e '^⁴'
