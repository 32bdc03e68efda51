# shellcheck shell=bash
# Sourced: kernels from the Debian mirror that this machine's apt already uses.
# In: ARCH, CACHE. A private apt with lists and a cache of its own is used, so
# that other suites and architectures never touch the machine's dpkg state.

apt_private() {
  local cmd=$1 d=$CACHE/apt-$ARCH
  shift
  "$cmd" -q -o Acquire::Retries=3 -o "Dir::State=$d/state" -o "Dir::State::status=$d/status" \
    -o "Dir::Cache=$d/cache" -o "Dir::Etc::sourcelist=$d/sources.list" -o Dir::Etc::sourceparts=- \
    -o "APT::Architecture=$ARCH" -o "APT::Architectures::=$ARCH" -o APT::Sandbox::User=root \
    -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false \
    -o Acquire::IndexTargets::deb::DEP-11-icons::DefaultEnabled=false \
    -o Acquire::IndexTargets::deb::DEP-11-icons-small::DefaultEnabled=false \
    -o APT::Update::Post-Invoke= -o APT::Update::Post-Invoke-Success= "$@"
}

# machine_source prints the URI of the machine's main component whose suite is
# (or is not) a -security one.
machine_source() {
  # shellcheck disable=SC2016 # apt expands these
  apt-get indextargets --format '$(CODENAME) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' |
    awk -v security="$1" '$2 == "main" && ($1 ~ /-security$/) == security && (security || $1 !~ /-/) {print $3; exit}'
}

# apt_ready fetches the lists of all suites, at most once a week.
apt_ready() {
  local d=$CACHE/apt-$ARCH main security by='' suite
  mkdir -p "$d"/{state/lists/partial,cache/archives/partial}
  : >>"$d/status"
  [[ -z $(find "$d/stamp" -mtime -7 2>/dev/null) ]] || return 0
  main=$(machine_source 0)
  if [[ -z $main && $EUID == 0 ]]; then # an image without lists
    apt-get update -qq >/dev/null 2>&1 || true
    main=$(machine_source 0)
  fi
  [[ -n $main ]] || die "no Debian main source in this machine's apt (try: apt-get update)"
  security=$(machine_source 1)
  local key=/usr/share/keyrings/debian-archive-keyring.gpg
  [[ -e $key ]] && by="[signed-by=$key] "
  {
    for suite in bullseye bookworm trixie sid; do echo "deb $by$main $suite main"; done
    [[ -z $security ]] || for suite in bullseye bookworm trixie; do echo "deb $by$security $suite-security main"; done
  } >"$d/sources.list"
  if apt_private apt-get update >"$d/update.log" 2>&1; then
    touch "$d/stamp"
  else
    say "apt update: $(grep -m2 -E '^[EW]:' "$d/update.log")"
  fi
}

# kernel_names lists the kernel packages of the mirror, oldest first.
kernel_names() {
  apt_private apt-cache pkgnames linux-image- | grep -E -- "-$ARCH\$" |
    grep -vE -- '-(cloud|rt|dbg)|^linux-image-[a-z]' | sort -V
}

# kernel_pin prints the package behind an alias. One that has left the mirror is
# replaced by the newest of its series.
kernel_pin() {
  case $1 in
    5.10) echo "linux-image-5.10.0-32-$ARCH" ;;
    6.1) echo "linux-image-6.1.0-56-$ARCH" ;;
    6.12) echo "linux-image-6.12.107+deb13-$ARCH" ;;
    7.2) echo "linux-image-7.2.13+deb14-$ARCH" ;;
  esac
}

# kernel_dir prints a folder with boot/vmlinuz-* and lib/modules/*, downloading
# and unpacking the package if it is not cached. $1: alias, package or folder.
kernel_dir() {
  local k=$1 pkg dir other
  if [[ -d $k/boot ]]; then readlink -f "$k"; return; fi
  if [[ $k == linux-image-* ]]; then pkg=$k; else pkg=$(kernel_pin "$k"); fi
  dir=$CACHE/kernels/${pkg:-none}
  if [[ -e $dir/.ready ]]; then echo "$dir"; return; fi
  # What replaced a pinned package last time.
  if [[ -e $CACHE/kernels/$k-$ARCH.instead ]]; then
    dir=$CACHE/kernels/$(<"$CACHE/kernels/$k-$ARCH.instead")
    if [[ -e $dir/.ready ]]; then echo "$dir"; return; fi
  fi
  apt_ready
  if [[ -z $pkg ]] || ! apt_private apt-cache show "$pkg" >/dev/null 2>&1; then
    other=$(kernel_names | grep -E "^linux-image-${k//./\\.}[.+-]" | tail -1 || true)
    [[ -n $other ]] || die "no kernel package for '$k' on $ARCH (try: vmtest -a $ARCH --list)"
    [[ -z $pkg ]] || say "$pkg is gone from the mirror, taking $other"
    pkg=$other
    mkdir -p "$CACHE/kernels"
    echo "$pkg" >"$CACHE/kernels/$k-$ARCH.instead"
  fi
  dir=$CACHE/kernels/$pkg
  [[ -e $dir/.ready ]] || kernel_unpack "$pkg" "$dir"
  echo "$dir"
}

kernel_unpack() {
  local pkg=$1 dir=$2 parts deb f m
  mkdir -p "$dir"
  rm -rf "${dir:?}"/*
  # Newer packages are a shell around linux-binary-, linux-modules- and linux-base-.
  parts=$(apt_private apt-cache show "$pkg" | sed -n 's/^Depends: //p' | tr -s ', ' '\n' |
    grep -E '^linux-(binary|modules|base)-[0-9]' | sort -u || true)
  # shellcheck disable=SC2086 # a list of words
  (cd "$dir" && apt_private apt-get download "$pkg" $parts >download.log 2>&1) ||
    die "download of $pkg: $(tail -1 "$dir/download.log")"
  for deb in "$dir"/*.deb; do
    dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$dir" --wildcards '*boot/*' '*lib/modules/*' 2>/dev/null || true
  done
  if [[ -d $dir/usr/lib/modules && ! -d $dir/lib/modules ]]; then
    mkdir -p "$dir/lib"
    mv "$dir/usr/lib/modules" "$dir/lib/"
  fi
  if ! compgen -G "$dir/boot/vmlinuz-*" >/dev/null; then # or the image lies beside the modules
    mkdir -p "$dir/boot"
    for f in vmlinuz config System.map; do
      m=$(compgen -G "$dir/lib/modules/*/$f" | head -1 || true)
      [[ -z $m ]] || cp "$m" "$dir/boot/$f-$(basename "$(dirname "$m")")"
    done
  fi
  if ! compgen -G "$dir/boot/vmlinuz-*" >/dev/null || [[ ! -d $dir/lib/modules ]]; then
    die "no kernel image or modules in $pkg $parts"
  fi
  rm -rf "${dir:?}"/*.deb "${dir:?}/usr"
  touch "$dir/.ready"
}

# u32 OFFSET FILE, magic OFFSET LENGTH FILE: little helpers for image headers.
u32() { od -An -tu4 -j"$1" -N4 "$2" | tr -d ' '; }
magic() { od -An -tx1 -j"$1" -N"$2" "$3" | tr -d ' \n'; }

# kernel_image prints the image to boot. Emulation is slow, so the compressed
# image is unpacked once on the host and not by every guest.
kernel_image() {
  local dir=$1 image vmlinuz
  vmlinuz=$(compgen -G "$dir/boot/vmlinuz-*" | head -1)
  image=$CACHE/kernels/$(basename "$dir").image
  if [[ ! -s $image ]]; then
    rm -f "$image.new"
    case $ARCH in
      # QEMU boots an ELF kernel through its PVH note only.
      amd64) ! grep -qs '^CONFIG_PVH=y' "$dir"/boot/config-* || unpack_bzimage "$vmlinuz" >"$image.new" || true ;;
      arm64) unpack_arm64 "$vmlinuz" >"$image.new" || true ;;
    esac
    case $ARCH-$(magic 0 4 "$image.new" 2>/dev/null) in
      amd64-7f454c46 | arm64-4d5a*) mv "$image.new" "$image" ;;
      *) rm -f "$image.new"; image=$vmlinuz ;;
    esac
  fi
  echo "$image"
}

unpack_bzimage() { # Documentation/arch/x86/boot.rst: setup_sects, payload_offset, payload_length
  local f=$1 start length
  start=$((($(od -An -tu1 -j497 -N1 "$f") + 1) * 512 + $(u32 584 "$f")))
  length=$(($(u32 588 "$f") - 4))
  case $(magic "$start" 4 "$f") in
    fd377a58) cut_out "$start" "$length" "$f" | xz -dc ;;
    28b52ffd) cut_out "$start" "$length" "$f" | zstd -dcq ;;
    1f8b*) cut_out "$start" "$length" "$f" | gzip -dc ;;
    02214c18) cut_out "$start" "$length" "$f" | lz4 -dc ;;
    *) return 1 ;;
  esac
}

unpack_arm64() {
  local f=$1 start length
  case $(magic 0 2 "$f") in
    1f8b) gzip -dc "$f" ;;
    4d5a)
      if [[ $(magic 4 4 "$f") != 7a696d67 ]]; then cat "$f"; return; fi # no EFI zboot image
      start=$(u32 8 "$f") length=$(u32 12 "$f")
      case $(tail -c +25 "$f" | head -c 8 | tr -d '\0') in
        gzip) cut_out "$start" "$length" "$f" | gzip -dc 2>/dev/null ;;
        zstd*) cut_out "$start" "$length" "$f" | zstd -dcq 2>/dev/null ;;
        xz*) cut_out "$start" "$length" "$f" | xz -dc 2>/dev/null ;;
        *) return 1 ;;
      esac ;;
    *) return 1 ;;
  esac
}

cut_out() { tail -c +$(($1 + 1)) "$3" | head -c "$2"; }
