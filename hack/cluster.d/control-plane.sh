# shellcheck shell=bash
# The control machine: etcd, API server, controller manager, scheduler, and the
# router between the host and the nodes.

# The host's interface carries the cluster's name: its address range is taken.
check_range() {
  local owner alias=/sys/class/net/$host_interface/ifalias
  [[ -e $alias ]] || return 0
  owner=$(<"$alias")
  [[ -z $owner || $owner == "$cluster_name" ]] || fail "the address range of '$cluster_name' is in use by the cluster '$owner': take another POSTHORN_CLUSTER_NAME"
}

host_connected() {
  [[ -e /sys/class/net/$host_interface ]] && nft list table ip "$firewall_table" >/dev/null 2>&1
}

connect_host() {
  local pid
  pid=$(machine_pid control)
  ip link delete "$host_interface" 2>/dev/null || true
  ip link add "$host_interface" type veth peer name host netns "$pid"
  ip link set dev "$host_interface" alias "$cluster_name"
  ip address add "$host_ip/32" dev "$host_interface"
  ip link set "$host_interface" up
  nsenter -t "$pid" -n -- sh -ec "
    ip address add $control_ip/32 dev host
    ip link set host up
    ip route add $host_ip/32 dev host
    ip route add default via $host_ip dev host onlink"
  # Load balancer addresses are routed to a node; kube-proxy here must not translate them.
  nsenter -t "$pid" -n -- nft -f - <<NFT
table ip balancer
delete table ip balancer
table ip balancer {
  chain prerouting {
    type filter hook prerouting priority raw
    ip daddr $balancer_cidr notrack
    ip saddr $balancer_cidr notrack
  }
  chain output {
    type filter hook output priority raw
    ip daddr $balancer_cidr notrack
  }
}
NFT
  ip route replace "$control_ip/32" dev "$host_interface" src "$host_ip"
  local range
  for range in "$pod_cidr" "$service_cidr" "$net_cidr"; do
    ip route replace "$range" via "$control_ip" dev "$host_interface" onlink src "$host_ip"
  done
  echo 1 >/proc/sys/net/ipv4/ip_forward
  # Source addresses are kept everywhere inside; only what leaves the cluster is translated.
  nft -f - <<NFT
table ip $firewall_table
delete table ip $firewall_table
table ip $firewall_table {
  chain postrouting {
    type nat hook postrouting priority srcnat
    ip saddr { $pod_cidr, $net_cidr } ip daddr != { $pod_cidr, $net_cidr } oifname != "$host_interface" masquerade
  }
}
NFT
}

etcd_start() {
  machine_run control etcd "${tool_paths[kube]}" etcd \
    --name control --data-dir "$state/control/etcd" --unsafe-no-fsync \
    --listen-client-urls https://127.0.0.1:2379 --advertise-client-urls https://127.0.0.1:2379 \
    --listen-peer-urls https://127.0.0.1:2380 --initial-advertise-peer-urls https://127.0.0.1:2380 \
    --initial-cluster control=https://127.0.0.1:2380 \
    --cert-file "$pki/etcd.crt" --key-file "$pki/etcd.key" --client-cert-auth --trusted-ca-file "$pki/etcd-ca.crt" \
    --peer-cert-file "$pki/etcd.crt" --peer-key-file "$pki/etcd.key" --peer-client-cert-auth --peer-trusted-ca-file "$pki/etcd-ca.crt" \
    --heartbeat-interval 500 --election-timeout 5000 \
    --auto-compaction-mode periodic --auto-compaction-retention 30m --quota-backend-bytes 4294967296 \
    --log-level warn
}

apiserver_start() {
  machine_run control apiserver "${tool_paths[kube]}" apiserver \
    --advertise-address "$control_ip" --secure-port 6443 \
    --etcd-servers https://127.0.0.1:2379 --etcd-cafile "$pki/etcd-ca.crt" \
    --etcd-certfile "$pki/etcd-client.crt" --etcd-keyfile "$pki/etcd-client.key" \
    --tls-cert-file "$pki/apiserver.crt" --tls-private-key-file "$pki/apiserver.key" --client-ca-file "$pki/ca.crt" \
    --kubelet-certificate-authority "$pki/ca.crt" --kubelet-preferred-address-types InternalIP \
    --kubelet-client-certificate "$pki/apiserver-kubelet-client.crt" --kubelet-client-key "$pki/apiserver-kubelet-client.key" \
    --requestheader-client-ca-file "$pki/front-proxy-ca.crt" --requestheader-allowed-names front-proxy-client \
    --requestheader-extra-headers-prefix X-Remote-Extra- --requestheader-group-headers X-Remote-Group --requestheader-username-headers X-Remote-User \
    --proxy-client-cert-file "$pki/front-proxy-client.crt" --proxy-client-key-file "$pki/front-proxy-client.key" \
    --service-account-issuer "https://kubernetes.default.svc.$cluster_domain" \
    --service-account-key-file "$pki/service-accounts.pub" --service-account-signing-key-file "$pki/service-accounts.key" \
    --service-cluster-ip-range "$service_cidr" --authorization-mode Node,RBAC \
    --enable-admission-plugins NodeRestriction --allow-privileged --enable-aggregator-routing
}

controllers_start() {
  # Alone on the machine, so nobody to elect: a stalled machine can't lose a lease, and a restart waits for none.
  machine_run control controller-manager "${tool_paths[kube]}" controller-manager \
    --kubeconfig "$state/conf/controller-manager.kubeconfig" \
    --authentication-kubeconfig "$state/conf/controller-manager.kubeconfig" \
    --authorization-kubeconfig "$state/conf/controller-manager.kubeconfig" \
    --leader-elect=false --bind-address 127.0.0.1 \
    --tls-cert-file "$pki/controller-manager-serving.crt" --tls-private-key-file "$pki/controller-manager-serving.key" \
    --use-service-account-credentials --service-account-private-key-file "$pki/service-accounts.key" --root-ca-file "$pki/ca.crt" \
    --cluster-signing-cert-file "$pki/ca.crt" --cluster-signing-key-file "$pki/ca.key" \
    --requestheader-client-ca-file "$pki/front-proxy-ca.crt" --allocate-node-cidrs=false
  machine_run control scheduler "${tool_paths[kube]}" scheduler \
    --kubeconfig "$state/conf/scheduler.kubeconfig" \
    --authentication-kubeconfig "$state/conf/scheduler.kubeconfig" \
    --authorization-kubeconfig "$state/conf/scheduler.kubeconfig" \
    --leader-elect=false --bind-address 127.0.0.1 \
    --tls-cert-file "$pki/scheduler-serving.crt" --tls-private-key-file "$pki/scheduler-serving.key"
}

api_ready() { kubectl get --raw /readyz --request-timeout 2s; }

api_start() {
  apiserver_start
  wait_for "${1:-60}" "the API server (see $state/log/control-apiserver.log)" api_ready || return 1
  controllers_start
}

api_stop() {
  local component
  for component in scheduler controller-manager apiserver; do
    component_stop control "$component"
  done
}

control_start() {
  machine_pid control >/dev/null || machine_start control
  host_connected || connect_host
  etcd_start
  api_start 60
}

# Things that belong to every cluster: rights, the storage class, the DNS Service.
apply_base() {
  sed -e "s|@DNS_SERVICE_IP@|$dns_service_ip|g" -e "s|@CONTROL_IP@|$control_ip|g" "$pieces/base.yaml" |
    kubectl apply --server-side --force-conflicts -f - >/dev/null
}

# What needs a node to be registered: Services for the host, and the host's DNS.
router_start() {
  proxy_start control n1
  dns_start control "$control_ip"
  machine_run control cluster-agent "${tool_paths[cluster-agent]}" control \
    --kubeconfig "$state/conf/cluster-agent.kubeconfig" --disks "$state/nodes" --balancer-range "$balancer_cidr"
}
