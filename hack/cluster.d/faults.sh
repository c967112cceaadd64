# shellcheck shell=bash
# Faults in one pod: signals, cuts of its network, the loss of a volume. They work on this machine's
# processes and packet filters, so they need no API server (but for the name of a volume), and reach a pod that doesn't answer.

# pod_groups NAMESPACE POD [CONTAINER|sandbox]: ids of its containers, one a line. Of containers that ended too.
pod_groups() {
  local filter="labels.\"io.kubernetes.pod.namespace\"==$1,labels.\"io.kubernetes.pod.name\"==$2" number
  case ${3:-} in
    '') ;;
    sandbox) filter+=",labels.\"io.cri-containerd.kind\"==sandbox" ;;
    *) filter+=",labels.\"io.kubernetes.container.name\"==$3" ;;
  esac
  for number in $(node_numbers); do
    machine_pid "n$number" >/dev/null || continue
    machine_exec "n$number" ctr -n k8s.io containers list -q "$filter" 2>/dev/null || true
  done
}

# pod_processes NAMESPACE POD [CONTAINER [PATTERN]]: process ids, as this machine counts them, of the containers (the
# sandbox only when it is named); with a PATTERN those whose command line it matches.
pod_processes() {
  local groups pid line
  groups=$(pod_groups "$1" "$2" "${3:-}")
  if [[ -z ${3:-} ]]; then groups=$(grep -vxF "$(pod_groups "$1" "$2" sandbox)" <<<"$groups" || true); fi
  [[ -n $groups ]] || return 0
  for pid in $(grep -lF "$groups" /proc/[0-9]*/cgroup 2>/dev/null | cut -d/ -f3); do
    line=$(tr '\0' ' ' <"/proc/$pid/cmdline") 2>/dev/null || continue
    [[ -z ${4:-} || $line =~ $4 ]] || continue
    echo "$pid"
  done
}

command_pod() {
  local action=${1:-} namespace=${2:-} pod=${3:-}
  [[ -n $pod ]] || fail "pod: which one? (pod $action NAMESPACE POD)"
  shift 3
  case $action in
    processes) pod_list "$namespace" "$pod" "$@" ;;
    signal) pod_signal "$namespace" "$pod" "$@" ;;
    net) pod_net "$namespace" "$pod" "$@" ;;
    cut) pod_cut "$namespace" "$pod" "$@" ;;
    heal) pod_net "$namespace" "$pod" sh -c 'nft delete table inet cut 2>/dev/null || true' ;;
    *) fail "pod: processes, signal, net, cut or heal" ;;
  esac
}

pod_list() {
  local pid
  for pid in $(pod_processes "$@"); do
    echo "$pid $(tr '\0' ' ' <"/proc/$pid/cmdline")"
  done 2>/dev/null
}

# pod_signal NAMESPACE POD SIGNAL [CONTAINER|- [PATTERN]]: to all of its processes at once. Prints how many there were.
# STOP is repeated until none runs: one may have been born meanwhile.
pod_signal() {
  local namespace=$1 pod=$2 signal=${3:-} container=${4:-} pids tries count=0
  [[ -n $signal ]] || fail "pod signal: which signal?"
  [[ $container != - ]] || container=
  for tries in 1 2 3; do
    mapfile -t pids < <(pod_processes "$namespace" "$pod" "$container" "${5:-}")
    if ((tries == 1)); then count=${#pids[@]}; fi
    ((${#pids[@]} > 0)) || break
    kill "-$signal" "${pids[@]}" 2>/dev/null || true
    [[ $signal == STOP ]] || break
  done
  echo "$count"
  ((count > 0)) || fail "pod signal: $namespace/$pod has no such process"
}

# pod_net NAMESPACE POD COMMAND…: a command of this machine in the pod's network.
pod_net() {
  local namespace=$1 pod=$2 pids
  shift 2
  mapfile -t pids < <(pod_processes "$namespace" "$pod" sandbox)
  ((${#pids[@]} > 0)) || fail "pod $namespace/$pod does not run"
  nsenter -t "${pids[-1]}" -n -- "$@"
}

# pod_cut NAMESPACE POD all|PORT[,PORT…] [both|in|out]: drops packets silently, of open connections too, whose server's
# port is one of these. `in`: where the pod is the server. It replaces an earlier cut, and ends with `pod heal` or the pod.
pod_cut() {
  local namespace=$1 pod=$2 ports=${3:-} direction=${4:-both} rules
  [[ $ports =~ ^(all|[0-9]+(,[0-9]+)*)$ && $direction =~ ^(both|in|out)$ ]] || fail "pod cut: all or ports, and both, in or out"
  rules=$(cut_rules "$ports" "$direction")
  pod_net "$namespace" "$pod" nft -f - <<NFT
table inet cut
delete table inet cut
table inet cut {
$rules
}
NFT
}

cut_rules() {
  local ports=$1 direction=$2 input='' output=''
  if [[ $ports == all ]]; then
    input='drop; ' output='drop; '
  else
    if [[ $direction != out ]]; then input+="tcp dport { $ports } drop; " output+="tcp sport { $ports } drop; "; fi
    if [[ $direction != in ]]; then input+="tcp sport { $ports } drop; " output+="tcp dport { $ports } drop; "; fi
  fi
  echo "  chain input { type filter hook input priority -10; iif lo accept; ${input%; }; }"
  echo "  chain output { type filter hook output priority -10; oif lo accept; ${output%; }; }"
}

# command_volume destroy NAMESPACE CLAIM: the disk behind a claim is lost with all that runs on it, and an empty one is in
# its place. The pod that has it ends without a word; whoever owns the pod makes it anew.
command_volume() {
  [[ ${1:-} == destroy && -n ${3:-} ]] || fail "volume: destroy NAMESPACE CLAIM"
  need_tools kube
  local namespace=$2 claim=$3 volume path pod='' lost
  volume=$(kubectl -n "$namespace" get pvc "$claim" -o 'jsonpath={.spec.volumeName}') && [[ -n $volume ]] || fail "claim $namespace/$claim has no volume"
  path=$(kubectl get pv "$volume" -o 'jsonpath={.spec.local.path}')
  [[ $path == "$state"/nodes/*/volumes/"$volume" && -d $path ]] || fail "volume $volume is not a disk of this cluster: '$path'"
  pod=$(kubectl -n "$namespace" get pods -o json | jq -r --arg claim "$claim" \
    '.items[] | select(any(.spec.volumes[]?; .persistentVolumeClaim.claimName == $claim)) | .metadata.name' | head -n 1)
  say "destroying $path of $namespace/$claim${pod:+, used by $pod}"
  # What is frozen can neither write to the new disk nor say goodbye.
  if [[ -n $pod ]]; then pod_signal "$namespace" "$pod" STOP >/dev/null || true; fi
  lost=$path.lost-$$
  mv "$path" "$lost"
  mkdir -m 777 "$path"
  chmod 777 "$path"
  if [[ -n $pod ]]; then
    kubectl -n "$namespace" delete pod "$pod" --grace-period 0 --force --wait=false >/dev/null 2>&1 || true
    pod_signal "$namespace" "$pod" KILL >/dev/null || true
  fi
  rm -rf --one-file-system "$lost"
}
