# shellcheck shell=bash
# Names, addresses and paths of the cluster; progress and failure lines.

cluster_name=${POSTHORN_CLUSTER_NAME:-default}
if [[ ! $cluster_name =~ ^[a-z0-9]([-a-z0-9]{0,30}[a-z0-9])?$ ]]; then
  echo "hack/cluster: POSTHORN_CLUSTER_NAME must be a short lower-case name, not '$cluster_name'" >&2
  exit 2
fi

# Each name gets address ranges of its own, so that clusters can run side by side.
if [[ $cluster_name == default ]]; then
  slot=0 pod_prefix=10.244 service_prefix=10.96 net_prefix=10.245
  default_directory=/var/lib/posthorn-cluster
else
  slot=$((1 + $(cksum <<<"$cluster_name" | cut -d' ' -f1) % 9))
  pod_prefix=10.$((150 + slot)) service_prefix=10.$((160 + slot)) net_prefix=10.$((170 + slot))
  default_directory=/var/lib/posthorn-cluster-$cluster_name
fi
state=${POSTHORN_CLUSTER_DIR:-$default_directory}

pod_cidr=$pod_prefix.0.0/16
service_cidr=$service_prefix.0.0/16
net_cidr=$net_prefix.0.0/16
balancer_cidr=$net_prefix.1.0/24 # addresses of Services of type LoadBalancer
control_ip=$net_prefix.0.1       # API server; the router between host and nodes
host_ip=$net_prefix.0.254
dns_service_ip=$service_prefix.0.10
node_dns_ip=169.254.20.10 # the NodeLocal DNSCache convention
cluster_domain=cluster.local
host_interface=posthorn$slot
firewall_table=posthorn_${cluster_name//-/_}

admin_config=$state/kubeconfig
init=$state/bin/pause
pause_image=localhost/posthorn-pause:1

node_ip() { echo "$net_prefix.0.$((10 + $1))"; }
node_pods() { echo "$pod_prefix.$1.0/24"; }

say() { echo "==> $*" >&2; }
fail() {
  echo "hack/cluster: $*" >&2
  exit 1
}

# wait_for SECONDS WHAT COMMAND…: polls until COMMAND succeeds.
wait_for() {
  local deadline=$((SECONDS + $1)) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < deadline)) || {
      echo "hack/cluster: timed out waiting for $what" >&2
      return 1
    }
    sleep 0.2
  done
}

# tool NAME: the program's path, looked up once.
declare -A tool_paths=()
need_tools() {
  local name
  for name in "$@"; do
    [[ -n ${tool_paths[$name]:-} ]] || tool_paths[$name]=$("$hack/tool" "$name")
  done
}

kubectl() { "${tool_paths[kube]}" kubectl --kubeconfig "$admin_config" "$@"; }

# The numbers of the nodes that were ever started, in order.
node_numbers() {
  local directory
  for directory in "$state"/nodes/n*; do
    [[ -d $directory ]] && echo "${directory##*/n}"
  done | sort -n
}
