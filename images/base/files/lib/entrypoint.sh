# Read by every entrypoint as its first step:  . /usr/local/lib/posthorn/entrypoint.sh
#
# The entrypoint is then a child of tini, which reaps orphans and passes signals
# on to it. Whatever the entrypoint execs last is the daemon whose end ends the
# container; what it starts before, in the background, ends with it.
# shellcheck shell=sh
set -eu

if [ "$$" = 1 ]; then
  exec /usr/bin/tini -- "$0" "$@"
fi

# say WORDS…: one line about what the entrypoint does, on standard error.
say() {
  echo "entrypoint: $*" >&2
}

# die WORDS…: says why the container can't start, and ends it.
die() {
  say "$*"
  exit 1
}

# need_role ROLE ALLOWED…: ends the container unless ROLE is one of ALLOWED.
need_role() {
  role=$1
  shift
  for allowed in "$@"; do
    [ "$role" = "$allowed" ] && return 0
  done
  die "unknown role '$role'; this image has: $*"
}

# need_files FILE…: ends the container when one of FILE… can't be read.
need_files() {
  for file in "$@"; do
    [ -r "$file" ] || die "can't read $file as uid $(id -u), groups $(id -G); is the volume mounted, with the pod's fsGroup?"
  done
}
