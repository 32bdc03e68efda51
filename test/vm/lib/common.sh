# shellcheck shell=bash
# Sourced: where things are kept, and how to give up.

# PROG names the script in messages; 125 is the exit status for "the machinery
# failed", so that it is not taken for the status of the command under test.
PROG=${PROG:-$(basename "$0")}
die() { echo "$PROG: $*" >&2; exit 125; }
say() { echo "$PROG: $*" >&2; }

# now prints milliseconds.
now() { local t=${EPOCHREALTIME/[.,]/}; echo "${t%???}"; }

# cache_dir prints the folder that is kept between runs. Unix sockets live below
# it, whose paths are limited to 107 bytes: keep it short.
cache_dir() {
  echo "${HANGTRACE_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/hangtrace}"
}

# need_commands dies unless every command named is there.
need_commands() {
  local c missing=()
  for c in "$@"; do command -v "$c" >/dev/null || missing+=("$c"); done
  ((${#missing[@]} == 0)) || die "missing commands: ${missing[*]} (try: test/vm/install.sh)"
}
