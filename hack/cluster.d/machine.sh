# shellcheck shell=bash
# A machine is a set of namespaces (network, mount, process, UTS, IPC) with one
# first process. Killing that process is pulling the plug: the kernel ends every
# process in it, containers too, and drops its mounts and interfaces. What lies
# in the machine's directory is its disk and stays.

machine_directory() {
  if [[ $1 == control ]]; then echo "$state/control"; else echo "$state/nodes/$1"; fi
}

# machine_pid MACHINE: process id of its first process, if that runs and is ours.
machine_pid() {
  local file pid
  file=$(machine_directory "$1")/pid
  [[ -r $file ]] || return 1
  read -r pid <"$file" || return 1
  is_machine_process "$pid" "$1" && echo "$pid"
}

# is_machine_process PID MACHINE: a recorded id may belong to another program by now.
is_machine_process() {
  local arguments=()
  mapfile -d '' -t arguments 2>/dev/null <"/proc/$1/cmdline" || return 1
  [[ ${arguments[0]:-} == "$init" && ${arguments[1]:-} == "$cluster_name" && ${arguments[2]:-} == "$2" ]]
}

machine_start() {
  local machine=$1 directory
  directory=$(machine_directory "$machine")
  mkdir -p "$directory"
  rm -f "$directory/pid"
  kill_unrecorded "$machine"
  setsid unshare --mount --propagation slave --uts --ipc --net --pid --fork \
    "$state/bin/machine-boot" "$directory" "$init" "$cluster_name" "$machine" \
    </dev/null >"$state/log/$machine.log" 2>&1 9>&- &
  disown
  wait_for 10 "machine $machine (see $state/log/$machine.log)" machine_pid "$machine"
}

# machine_kill MACHINE: no graceful stop of anything.
machine_kill() {
  local machine=$1 pid
  if pid=$(machine_pid "$machine"); then
    kill -KILL "$pid"
    wait_for 30 "the processes of $machine to end" process_gone "$pid"
  fi
  rm -f "$(machine_directory "$machine")/pid"
  local groups
  mapfile -t groups < <(machine_cgroups "$machine")
  ((${#groups[@]} == 0)) || find "${groups[@]}" -depth -type d -exec rmdir {} + 2>/dev/null || true
}

# The first process stays until all others of its process namespace are gone.
process_gone() { [[ ! -e /proc/$1 ]]; }

# machine_cgroups MACHINE: its control group in each hierarchy.
machine_cgroups() { find /sys/fs/cgroup -maxdepth 2 -type d -name "posthorn-$cluster_name-$1"; }

# machine_exec MACHINE COMMAND…: runs a command inside.
machine_exec() {
  local pid
  pid=$(machine_pid "$1") || fail "$1 is not running"
  shift
  nsenter -t "$pid" -m -u -i -n -p -C -- "$@"
}

# machine_run MACHINE NAME COMMAND…: keeps COMMAND running inside until the machine
# dies; a component that runs by another command, an older version's, is replaced.
machine_run() {
  local machine=$1 name=$2
  shift 2
  if component_runs "$machine" "$name"; then
    [[ $(machine_exec "$machine" sed -n 2p "/run/supervised/$name") != "$*" ]] || return 0
    say "restarting $name on $machine"
    component_stop "$machine" "$name"
  fi
  # shellcheck disable=SC2016
  machine_exec "$machine" sh -c 'ulimit -n "$(ulimit -Hn)"; setsid "$@" </dev/null >/dev/null 2>&1 9>&- &' sh \
    "$state/bin/supervise" "$state/log/$machine-$name.log" "$name" "$@"
}

component_runs() {
  # shellcheck disable=SC2016
  machine_exec "$1" sh -c 'read -r pid <"/run/supervised/$1" && kill -0 "$pid"' sh "$2" 2>/dev/null
}

# component_stop MACHINE NAME: kills it abruptly, and nothing starts it again.
component_stop() {
  component_runs "$1" "$2" || return 0
  # shellcheck disable=SC2016
  machine_exec "$1" sh -c 'read -r pid <"/run/supervised/$1" && kill -TERM "$pid" && while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done' sh "$2"
}

# kill_unrecorded [MACHINE]: machines of this cluster whose record was lost.
kill_unrecorded() {
  local file pid arguments
  for file in /proc/[0-9]*/cmdline; do
    arguments=()
    mapfile -d '' -t arguments 2>/dev/null <"$file" || continue
    [[ ${arguments[0]:-} == "$init" && ${arguments[1]:-} == "$cluster_name" ]] || continue
    [[ -z ${1:-} || ${arguments[2]:-} == "$1" ]] || continue
    pid=${file#/proc/}
    pid=${pid%/cmdline}
    kill -KILL "$pid"
    wait_for 30 "process $pid to end" process_gone "$pid"
  done 2>/dev/null
}

# What machines run is copied: an edit in the checkout must not reach a running shell.
build_init() {
  mkdir -p "$state/bin"
  install -C "$pieces/machine-boot" "$pieces/supervise" "$state/bin/"
  [[ -x $init && $init -nt $pieces/pause.c ]] || gcc -Os -static -s -o "$init" "$pieces/pause.c"
}
