# shellcheck shell=bash
# One CoreDNS per machine, outside the pods: names resolve with the API server
# away (from the last state seen) and whether or not the node counts as ready.

# answers_dns ADDRESS: does a server there answer the query "NS ." within a second?
answers_dns() {
  local reply
  exec 7<>"/dev/udp/$1/53" || return 1
  printf '\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x01' >&7
  IFS= LC_ALL=C read -r -t 1 -n 1 -d '' reply <&7 || reply=
  exec 7>&-
  [[ -n $reply ]]
}

# outside_names: the part of the Corefile for names outside the cluster.
outside_names() {
  local servers=() server
  for server in $(awk '$1 == "nameserver" && $2 !~ /:/ && $2 !~ /^127\./ { print $2 }' /etc/resolv.conf); do
    if answers_dns "$server" 2>/dev/null; then servers+=("$server"); fi
  done
  if ((${#servers[@]})); then
    printf '  cache 30\n  forward . %s {\n    max_fails 1\n    failfast_all_unhealthy_upstreams\n  }\n' "${servers[*]}"
  else
    # Nobody to ask: say so at once instead of letting every client run into its time-out.
    printf '  template ANY ANY . {\n    rcode SERVFAIL\n  }\n'
  fi
}

dns_start() {
  local machine=$1 file
  shift
  file=$(machine_directory "$machine")/Corefile
  local reverse=() prefix
  for prefix in "$pod_prefix" "$service_prefix"; do
    reverse+=("${prefix#*.}.${prefix%.*}.in-addr.arpa")
  done
  cat >"$file" <<COREFILE
$cluster_domain ${reverse[*]} {
  bind $*
  errors
  loadbalance
  kubernetes $cluster_domain ${reverse[*]} {
    kubeconfig $state/conf/coredns.kubeconfig
    pods verified
    ttl 5
  }
}
. {
  bind $*
  errors
$(outside_names)
}
COREFILE
  machine_run "$machine" coredns "${tool_paths[coredns]}" -conf "$file"
}
