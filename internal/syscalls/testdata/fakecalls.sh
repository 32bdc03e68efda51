#!/bin/sh
# fakecalls.sh SCRIPT [STRACE FLAG]...: strace's lines for the calls of SCRIPT
# (see fakecalls.c), one each, on standard output. Needs gcc and strace.
set -eu
script=$1
shift
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
gcc -O1 -static -no-pie -o "$tmp/fakecalls" "$(dirname "$0")/fakecalls.c"
timeout 120 strace -a1 -o "$tmp/out" "$@" "$tmp/fakecalls" "$script"
sed -n '/^write(-1[^,]*, "BEGIN"/,/^write(-1[^,]*, "END"/p' "$tmp/out" |
	sed '1d;$d;/^--- /d;/^\[ Process PID=/d'
