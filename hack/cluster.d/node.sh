# shellcheck shell=bash
# A node: containerd, kubelet, kube-proxy, CoreDNS and the agent that enforces
# NetworkPolicies, in a machine of their own.

connect_node() {
  local number=$1 router node address
  router=$(machine_pid control)
  node=$(machine_pid "n$number")
  address=$(node_ip "$number")
  # An interface of an earlier life goes with its namespace, but not at once.
  nsenter -t "$router" -n -- ip link delete "n$number" 2>/dev/null || true
  nsenter -t "$node" -n -- ip link delete eth0 2>/dev/null || true
  nsenter -t "$router" -n -- ip link add "n$number" type veth peer name eth0 netns "$node"
  nsenter -t "$router" -n -- sh -ec "
    ip address add $control_ip/32 dev n$number
    ip link set n$number up
    ip route replace $address/32 dev n$number src $control_ip"
  nsenter -t "$node" -n -- sh -ec "
    ip address add $address/32 dev eth0
    ip address replace $node_dns_ip/32 dev lo
    ip link set eth0 up
    ip route add $control_ip/32 dev eth0 src $address
    ip route add default via $control_ip dev eth0 src $address"
  nsenter -t "$router" -n -- ip route replace "$(node_pods "$number")" via "$address" dev "n$number" onlink
}

# A node loses its cable when the control machine is made anew.
connected() { machine_exec control ip route show "$(node_pods "$1")" 2>/dev/null | grep -q .; }

# overlayfs can't lie on overlayfs.
snapshotter() {
  if [[ $(stat -f -c %T "$state") == overlayfs ]]; then echo native; else echo overlayfs; fi
}

write_node_config() {
  local number=$1 directory=$state/nodes/n$1
  mkdir -p "$directory"/{containerd,kubelet,volumes,conf/cni}
  cat >"$directory/conf/containerd.toml" <<TOML
version = 2
root = "$directory/containerd"
state = "/run/containerd"
oom_score = 0
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper"]
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "$pause_image"
  restrict_oom_score_adj = true
  disable_apparmor = true
  disable_tcp_service = true
  tolerate_missing_hugetlb_controller = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$directory/conf/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "$(snapshotter)"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
TOML
  # Each pod is routed on its own (ptp), so that what two pods of one node say to
  # each other also passes through the node's packet filter, and no address is translated.
  cat >"$directory/conf/cni/10-posthorn.conflist" <<JSON
{
  "cniVersion": "1.0.0",
  "name": "posthorn",
  "plugins": [
    {
      "type": "ptp",
      "ipMasq": false,
      "ipam": {
        "type": "host-local",
        "dataDir": "/run/cni-addresses",
        "ranges": [[{"subnet": "$(node_pods "$number")"}]],
        "routes": [{"dst": "0.0.0.0/0"}]
      }
    },
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
JSON
  echo "nameserver $node_dns_ip" >"$directory/conf/resolv.conf"
  cat >"$directory/conf/kubelet.yaml" <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $(node_ip "$number")
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: $pki/ca.crt}
authorization: {mode: Webhook}
tlsCertFile: $pki/kubelet-n$number.crt
tlsPrivateKeyFile: $pki/kubelet-n$number.key
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
clusterDomain: $cluster_domain
clusterDNS: [$node_dns_ip]
resolvConf: $directory/conf/resolv.conf
podLogsDir: $directory/kubelet/pod-logs
volumePluginDir: $directory/kubelet/volume-plugins
failCgroupV1: false
failSwapOn: false
cgroupDriver: cgroupfs
cgroupsPerQOS: false
enforceNodeAllocatable: []
oomScoreAdj: 0
localStorageCapacityIsolation: false
# Images come from this machine, not from a registry: a collected one would never come back.
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
evictionHard: {memory.available: 100Mi}
maxPods: 200
YAML
}

containerd_ready() { machine_exec "$1" ctr -n k8s.io version; }

proxy_start() {
  local machine=$1 node=$2
  machine_run "$machine" kube-proxy "${tool_paths[kube]}" proxy \
    --kubeconfig "$state/conf/kube-proxy.kubeconfig" --hostname-override "$node" \
    --proxy-mode nftables --cluster-cidr "$pod_cidr" --nodeport-addresses 0.0.0.0/0 \
    --conntrack-max-per-core 0 --conntrack-tcp-timeout-established 0 --conntrack-tcp-timeout-close-wait 0
}

kubelet_start() {
  local number=$1 directory=$state/nodes/n$1
  machine_run "n$number" kubelet "${tool_paths[kube]}" kubelet \
    --config "$directory/conf/kubelet.yaml" --kubeconfig "$state/conf/node-n$number.kubeconfig" \
    --hostname-override "n$number" --node-ip "$(node_ip "$number")" \
    --root-dir "$directory/kubelet" --cert-dir "$directory/kubelet/pki"
}

# node_start NUMBER: idempotent; the disk of an earlier life is used again.
node_start() {
  local number=$1 machine=n$1 fresh=''
  if ! machine_pid "$machine" >/dev/null; then
    say "starting node $machine"
    node_certificates "$number"
    write_node_config "$number"
    machine_start "$machine"
    fresh=yes
  fi
  connected "$number" || connect_node "$number"
  machine_run "$machine" containerd containerd --config "$state/nodes/$machine/conf/containerd.toml"
  wait_for 30 "containerd of $machine (see $state/log/$machine-containerd.log)" containerd_ready "$machine"
  import_pause_image "$machine"
  [[ -z $fresh ]] || load_earlier_images "$machine"
  kubelet_start "$number"
  proxy_start "$machine" "$machine"
  dns_start "$machine" "$node_dns_ip" "$(node_ip "$number")"
  machine_run "$machine" cluster-agent "${tool_paths[cluster-agent]}" node \
    --kubeconfig "$state/conf/cluster-agent.kubeconfig" --node "$machine"
}

node_ready() {
  [[ $(kubectl get node "$1" -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}') == True ]]
}
