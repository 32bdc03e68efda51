#!/bin/bash
# vm.sh: the guest of the Ceph lab, with the real kernel cephfs and rbd clients.
# shellcheck source-path=SCRIPTDIR
set -u
PROG=vm.sh
# shellcheck source=lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"

usage() {
  cat <<'U'
usage: vm.sh prepare       fetch the kernel and build labguest (up does it too)
       vm.sh up            boot the guest in the lab's network namespace
       vm.sh sh 'SCRIPT'   run a shell script in it (or on standard input); its exit status
       vm.sh alive         exit 0 if the machine runs
       vm.sh console       the console so far
       vm.sh down          stop it (idempotent)
VM_KERNEL (6.1), VM_ARCH (amd64), VM_MEM (1024), VM_CPUS (2), VM_TIMEOUT for one
sh (60 s). The guest reaches the cluster at 10.99.0.1; the folder share/ of the
lab's state is /share in it. 125: the machine failed, 124: VM_TIMEOUT.
U
}

VM_ARCH=${VM_ARCH:-amd64}
VM_KERNEL=${VM_KERNEL:-6.1}
MODULES=ceph,rbd,ext4,xfs,fuse,virtio_net
VMTEST=$CEPH_DIR/../vm/vmtest
CLIENT=$RUN/labguest

prepare() {
  mkdir -p "$RUN/share"
  "$VMTEST" -a "$VM_ARCH" -m "$MODULES" --prepare "$VM_KERNEL" >/dev/null || die "no kernel $VM_KERNEL"
  (cd "$CEPH_DIR" && export CGO_ENABLED=0 &&
    GOARCH=$VM_ARCH go build -trimpath -ldflags='-s -w' -o "$RUN/labguest.guest" ./labguest &&
    go build -trimpath -o "$CLIENT" ./labguest) || die "cannot build labguest"
}

machine_pid() { recorded vm /usr/bin/bash || recorded vm /bin/bash; }

# guest_run runs the script on standard input; connecting fails until the agent
# listens.
guest_run() { in_netns timeout "${VM_TIMEOUT:-60}" "$CLIENT" run "$ADDR:$AGENT_PORT"; }

up() {
  local began i
  machine_pid >/dev/null && { say "already up"; return 0; }
  began=$(now)
  prepare
  make_netns
  : >"$RUN/console.log"
  setsid "$VMTEST" -a "$VM_ARCH" -m "$MODULES" -t "$LIFE" -l "$RUN/console.log" \
    --smp "${VM_CPUS:-2}" --mem "${VM_MEM:-1024}" \
    --netns "$NETNS" --net "hostfwd=tcp:$ADDR:$AGENT_PORT-:$AGENT_PORT" \
    -f "$RUN/labguest.guest:/bin/labguest" -s "$RUN/share" "$VM_KERNEL" -- \
    "ln -s labguest /bin/hangop; hostname cephvm; echo 20 >/proc/sys/kernel/hung_task_timeout_secs
     ip link set eth0 up; ip addr add 10.0.2.15/24 dev eth0; ip route add default via 10.0.2.2
     exec labguest agent :$AGENT_PORT" </dev/null >"$RUN/vm.out" 2>&1 9>&- &
  echo $! >"$RUN/vm.pid"
  for ((i = 0; i < 50; i++)); do # until setsid has become bash
    machine_pid >/dev/null && break
    sleep 0.1
  done
  for ((i = 0; i < 300 * ${HANGTRACE_CEPH_PATIENCE:-1}; i++)); do
    machine_pid >/dev/null || die "the guest died while it booted: $(cat "$RUN/vm.out"; tail -n 15 "$RUN/console.log")"
    # QEMU accepts connections long before the guest can answer them.
    if grep -aq 'command starts' "$RUN/console.log" && [[ $(VM_TIMEOUT=3 guest_run 2>/dev/null <<<'echo up') == up ]]; then
      say "guest $VM_KERNEL $VM_ARCH up in $(($(now) - began)) ms"
      return 0
    fi
    sleep 0.2
  done
  tail -n 15 "$RUN/console.log" >&2
  down
  die "the guest did not answer"
}

down() {
  local p i
  if p=$(machine_pid); then
    kill -TERM "$p" # vmtest ends QEMU and itself
    for ((i = 0; i < 50; i++)); do
      machine_pid >/dev/null || break
      sleep 0.1
    done
    if p=$(machine_pid); then say "vmtest (pid $p) does not end"; fi
  fi
  rm -f "$RUN/vm.pid"
}

case ${1:-} in
  prepare) prepare ;;
  up) up ;;
  down) down ;;
  alive) machine_pid >/dev/null ;;
  console) cat "$RUN/console.log" ;;
  sh)
    shift
    if (($#)); then printf '%s\n' "$*"; else cat; fi | guest_run
    exit "${PIPESTATUS[1]}" ;;
  -h | --help) usage ;;
  *) usage >&2; exit 2 ;;
esac
