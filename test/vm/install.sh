#!/bin/bash
# Installs the Debian packages that the virtual machine and Ceph tests need.
#
#   install.sh [vm|arm64|ceph]...   default: all of them
#
# Idempotent: what is there is not touched, and nothing is downloaded when
# nothing is missing. Quiet unless it fails.
set -eu

declare -A packages=(
  [vm]='qemu-system-x86 busybox-static cpio xz-utils zstd lz4 gzip util-linux'
  [arm64]='qemu-system-arm busybox-static cpio xz-utils zstd lz4 gzip util-linux'
  [ceph]='ceph-mon ceph-osd ceph-mds ceph-mgr ceph-common ceph-fuse iproute2 iptables jq e2fsprogs xfsprogs util-linux'
)

(($#)) || set -- vm arm64 ceph
missing=()
for set in "$@"; do
  [[ -n ${packages[$set]:-} ]] || { echo "install.sh: no package set '$set' (there are: ${!packages[*]})" >&2; exit 2; }
  for p in ${packages[$set]}; do
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null) == installed ]] || missing+=("$p")
  done
done
((${#missing[@]})) || exit 0

((EUID == 0)) || { echo "install.sh: missing: ${missing[*]} (try: run it as root)" >&2; exit 1; }
log=$(mktemp)
trap 'rm -f "$log"' EXIT
export DEBIAN_FRONTEND=noninteractive
# The lists of an image can be older than the mirror: always fetch them first.
if ! { apt-get update -qq && apt-get install -y -qq -o Acquire::Retries=3 --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
  tail -20 "$log" >&2
  echo "install.sh: cannot install ${missing[*]}" >&2
  exit 1
fi
