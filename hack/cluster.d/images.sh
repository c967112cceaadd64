# shellcheck shell=bash
# Images get to the nodes as archives: there is no registry.

# podman's image id is kept as a label: containerd's own differs, because saving an
# image as an archive in Docker's format rewrites its configuration.
id_label=posthorn.dev/podman-id

# node_images MACHINE: a line "NAME ID" for each image there, "-" for an unknown id.
node_images() {
  machine_exec "$1" ctr -n k8s.io images list | awk -v label="$id_label=" '
    NR > 1 { id = "-"; if (i = index($0, label)) id = substr($0, i + length(label), 64); print $1, id }'
}

# program_archive PROGRAM IMAGE FILE: an image that holds one static program, as
# an archive in Docker's format.
program_archive() {
  local program=$1 image=$2 file=$3 work architecture name=${1##*/}
  case $(uname -m) in
    x86_64) architecture=amd64 ;;
    aarch64) architecture=arm64 ;;
    *) architecture=$(uname -m) ;;
  esac
  work=$(mktemp -d "$state/image.XXXXXX")
  tar -C "${program%/*}" --owner 0 --group 0 --mtime @0 --transform "s|^.*/\{0,1\}$name|${4:-$name}|" -cf "$work/layer.tar" "$name"
  cat >"$work/config.json" <<JSON
{"architecture":"$architecture","os":"linux","config":{"Entrypoint":["/${4:-$name}"],"User":"65535:65535"},
"rootfs":{"type":"layers","diff_ids":["sha256:$(sha256sum <"$work/layer.tar" | cut -d' ' -f1)"]}}
JSON
  echo "[{\"Config\":\"config.json\",\"RepoTags\":[\"$image\"],\"Layers\":[\"layer.tar\"]}]" >"$work/manifest.json"
  tar -C "$work" -cf "$file" manifest.json config.json layer.tar
  rm -rf "$work"
}

# import_archive MACHINE FILE
import_archive() { machine_exec "$1" ctr -n k8s.io images import "$2" >/dev/null; }

import_pause_image() {
  ! node_images "$1" | grep -q "^$pause_image " || return 0
  local archive=$state/bin/pause-image.tar
  [[ -s $archive ]] || program_archive "$init" "$pause_image" "$archive"
  import_archive "$1" "$archive"
}

# full_name IMAGE: as containerd and the kubelet write it.
full_name() {
  local image=$1
  [[ ${image##*/} == *:* ]] || image+=:latest
  echo "$image"
}

# load_images IMAGE…: podman's images, into every running node that lacks them.
load_images() {
  local number machines=()
  (($#)) || fail "load-image: which images?"
  for number in $(node_numbers); do
    if machine_pid "n$number" >/dev/null; then machines+=("n$number"); fi
  done
  ((${#machines[@]})) || fail "no node is running; start one with: hack/cluster up"
  bring_images "${machines[*]}" "$@"
  printf '%s\n' "$@" >>"$state/images"
}

# load_earlier_images MACHINE: what other nodes were given while this one was away.
load_earlier_images() {
  local image images=()
  [[ -s $state/images ]] || return 0
  for image in $(sort -u "$state/images"); do
    if podman image exists "$image"; then images+=("$image"); fi
  done
  ((${#images[@]} == 0)) || bring_images "$1" "${images[@]}"
}

# bring_images "MACHINE…" IMAGE…: one archive of all that any machine lacks, imported by all at once.
bring_images() {
  local machines=$1 machine image id present
  shift
  local -A ids=() lacking=()
  for image in "$@"; do
    image=$(full_name "$image")
    id=$(podman image inspect --format '{{.Id}}' "$image") || fail "podman has no image $image"
    ids[$image]=${id#sha256:}
  done
  for machine in $machines; do
    present=$(node_images "$machine")
    for image in "${!ids[@]}"; do
      grep -qxF "$image ${ids[$image]}" <<<"$present" || lacking[$machine]+=" $image"
    done
  done
  ((${#lacking[@]})) || return 0

  local work wanted=() jobs=() job
  mapfile -t wanted < <(tr ' ' '\n' <<<"${lacking[*]}" | sort -u | sed '/^$/d')
  work=$(mktemp -d "$state/images.XXXXXX")
  # shellcheck disable=SC2064
  trap "rm -rf '$work'" EXIT
  podman save -q --format docker-archive -m -o "$work/images.tar" "${wanted[@]}"
  for machine in "${!lacking[@]}"; do
    say "loading into $machine:${lacking[$machine]}"
    import_archive "$machine" "$work/images.tar" &
    jobs+=($!)
  done
  for job in "${jobs[@]}"; do
    wait "$job" || fail "an import failed"
  done
  rm -rf "$work"
  for machine in "${!lacking[@]}"; do
    for image in ${lacking[$machine]}; do
      machine_exec "$machine" ctr -n k8s.io images label "$image" "$id_label=${ids[$image]}" >/dev/null
    done
  done
}
