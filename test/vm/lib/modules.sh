# shellcheck shell=bash
# Sourced: kernel modules and what they need, without kmod.
# In: CACHE, KDIR (kernel_dir's folder), KREL (its release).
# Out: ORDER, the names in loading order.

ORDER=()
declare -A module_seen=() module_path=()

# modules_index reads the names and files of all modules.
modules_index() {
  local list n p
  list=$CACHE/kernels/$(basename "$KDIR").modules
  plain_dir=$CACHE/kernels/$(basename "$KDIR").ko
  mkdir -p "$plain_dir"
  if [[ ! -s $list ]]; then
    (cd "$KDIR/lib/modules/$KREL" && find . -name '*.ko*' | sed 's|^\./||' |
      awk '{n = $0; sub(/.*\//, "", n); sub(/\.ko.*/, "", n); gsub(/-/, "_", n); print n, $0}' | sort) >"$list"
  fi
  while read -r n p; do module_path[$n]=$p; done <"$list"
}

# module_file prints the module as a plain .ko on the host.
module_file() {
  local p=$KDIR/lib/modules/$KREL/${module_path[$1]} plain=$plain_dir/$1.ko
  case $p in
    *.xz) [[ -s $plain ]] || { xz -dc "$p" >"$plain.new" && mv "$plain.new" "$plain"; }; echo "$plain" ;;
    *.zst) [[ -s $plain ]] || { zstd -dcq "$p" >"$plain.new" && mv "$plain.new" "$plain"; }; echo "$plain" ;;
    *) echo "$p" ;;
  esac
}

# module_info prints the lines depends=, softdep= and alias= of .modinfo.
module_info() {
  local c=$plain_dir/$1.info
  if [[ ! -e $c ]]; then
    # shellcheck disable=SC2094
    grep -azoE '(depends|softdep|alias)=[^[:cntrl:]]*' "$(module_file "$1")" | tr '\0' '\n' |
      grep -aE '^(depends|softdep|alias)=' >"$c.new" || true
    mv "$c.new" "$c"
  fi
  cat "$c"
}

# module_need NAME [soft]: put a module and what it needs into ORDER. A soft one
# may be missing.
module_need() {
  local n=${1//-/_} d line
  [[ -z ${module_seen[$n]:-} ]] || return 0
  module_seen[$n]=1
  if [[ -z ${module_path[$n]:-} ]]; then
    [[ ${2:-} == soft ]] || grep -qsE "/${n//_/[-_]}\.ko" "$KDIR/lib/modules/$KREL/modules.builtin" ||
      say "$KREL has no module $n"
    return 0
  fi
  while read -r line; do
    case $line in
      depends=*) for d in $(tr , ' ' <<<"${line#depends=}"); do module_need "$d"; done ;;
      softdep=pre:*)
        for d in ${line#softdep=pre:}; do
          [[ $d != post: ]] || break
          d=${d#crypto-}
          d=${d//-/_}
          module_need "$d" soft
          module_need "${d}_generic" soft
        done ;;
    esac
  done < <(module_info "$n")
  ORDER+=("$n")
}

# modules_install ROOT: copy ORDER below ROOT with the two files that busybox's
# modprobe reads.
modules_install() {
  local to=$1/lib/modules/$KREL m i d needs
  mkdir -p "$to"
  : >"$to/modules.dep"
  : >"$to/modules.alias"
  for m in "${ORDER[@]}"; do
    cp "$(module_file "$m")" "$to/$m.ko"
    i=$(module_info "$m")
    needs=''
    for d in $(sed -n 's/^depends=//p' <<<"$i" | tr , ' '); do
      d=${d//-/_}
      [[ -z ${module_path[$d]:-} ]] || needs+=" $d.ko"
    done
    echo "$m.ko:$needs" >>"$to/modules.dep"
    sed -n "s/^alias=\(.*\)/alias \1 $m/p" <<<"$i" >>"$to/modules.alias"
  done
}
