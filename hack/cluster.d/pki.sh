# shellcheck shell=bash
# Certificates and kubeconfig files. Keys never leave $state/pki and the kubeconfigs.

pki=$state/pki

# new_key FILE
new_key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1"; }

# authority NAME COMMON_NAME
authority() {
  [[ -s $pki/$1.crt ]] && return 0
  new_key "$pki/$1.key"
  openssl req -x509 -new -key "$pki/$1.key" -subj "/CN=$2" -days 3650 -out "$pki/$1.crt" \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign
}

# certificate AUTHORITY NAME SUBJECT USAGES [SUBJECT_ALTERNATIVE_NAMES]
certificate() {
  local ca=$1 name=$2 subject=$3 usages=$4 names=${5:-}
  [[ -s $pki/$name.crt ]] && return 0
  new_key "$pki/$name.key"
  {
    echo "basicConstraints = critical, CA:FALSE"
    echo "keyUsage = critical, digitalSignature"
    echo "extendedKeyUsage = $usages"
    [[ -z $names ]] || echo "subjectAltName = $names"
  } >"$pki/$name.ext"
  openssl req -new -key "$pki/$name.key" -subj "$subject" |
    openssl x509 -req -CA "$pki/$ca.crt" -CAkey "$pki/$ca.key" -CAserial "$pki/$ca.srl" -CAcreateserial \
      -days 3650 -extfile "$pki/$name.ext" -out "$pki/$name.crt.new" 2>/dev/null
  rm "$pki/$name.ext"
  mv "$pki/$name.crt.new" "$pki/$name.crt"
}

# kubeconfig_for NAME FILE: written for the certificate NAME.
kubeconfig_for() {
  local name=$1 file=$2
  cat >"$file.new" <<YAML
apiVersion: v1
kind: Config
current-context: posthorn-$cluster_name
contexts:
  - name: posthorn-$cluster_name
    context: {cluster: posthorn-$cluster_name, user: $name}
clusters:
  - name: posthorn-$cluster_name
    cluster:
      server: https://$control_ip:6443
      certificate-authority-data: $(base64 -w0 "$pki/ca.crt")
users:
  - name: $name
    user:
      client-certificate-data: $(base64 -w0 "$pki/$name.crt")
      client-key-data: $(base64 -w0 "$pki/$name.key")
YAML
  chmod 600 "$file.new"
  mv "$file.new" "$file"
}

# component_identity NAME USER [GROUP]: client certificate and kubeconfig.
component_identity() {
  local subject="/CN=$2"
  [[ -z ${3:-} ]] || subject="/O=$3/CN=$2"
  certificate ca "$1" "$subject" clientAuth
  kubeconfig_for "$1" "$state/conf/$1.kubeconfig"
}

control_certificates() {
  (umask 077 && mkdir -p "$pki" "$state/conf")
  authority ca "posthorn-$cluster_name"
  authority front-proxy-ca "posthorn-$cluster_name front proxy"
  authority etcd-ca "posthorn-$cluster_name etcd"
  certificate ca apiserver /CN=kube-apiserver serverAuth \
    "IP:$control_ip,IP:$service_prefix.0.1,IP:127.0.0.1,DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.$cluster_domain"
  certificate ca apiserver-kubelet-client /O=system:masters/CN=kube-apiserver-kubelet-client clientAuth
  certificate front-proxy-ca front-proxy-client /CN=front-proxy-client clientAuth
  certificate etcd-ca etcd /CN=etcd serverAuth,clientAuth "IP:127.0.0.1,DNS:localhost"
  certificate etcd-ca etcd-client /CN=kube-apiserver clientAuth
  certificate ca controller-manager-serving /CN=kube-controller-manager serverAuth IP:127.0.0.1,DNS:localhost
  certificate ca scheduler-serving /CN=kube-scheduler serverAuth IP:127.0.0.1,DNS:localhost
  [[ -s $pki/service-accounts.pub ]] || {
    openssl genrsa -out "$pki/service-accounts.key" 2048 2>/dev/null
    openssl rsa -in "$pki/service-accounts.key" -pubout -out "$pki/service-accounts.pub" 2>/dev/null
  }
  component_identity admin kubernetes-admin system:masters
  component_identity controller-manager system:kube-controller-manager
  component_identity scheduler system:kube-scheduler
  component_identity kube-proxy system:kube-proxy
  component_identity coredns system:coredns
  component_identity cluster-agent posthorn:cluster-agent
  cp "$state/conf/admin.kubeconfig" "$admin_config"
}

node_certificates() {
  certificate ca "node-n$1" "/O=system:nodes/CN=system:node:n$1" clientAuth
  certificate ca "kubelet-n$1" "/O=system:nodes/CN=system:node:n$1" serverAuth "DNS:n$1,IP:$(node_ip "$1")"
  kubeconfig_for "node-n$1" "$state/conf/node-n$1.kubeconfig"
}
