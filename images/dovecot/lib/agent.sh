# Sourced by the programs beside a store's Dovecot. The agent says in /run/agent/role what this copy of the shard is: stopped,
# replica, opening (to become, or not any more, the primary) or primary.
# shellcheck shell=bash

# is_primary: no process, no question; cheap enough for every second.
is_primary() {
  local word=
  { read -r word </run/agent/role; } 2>/dev/null
  [[ $word == primary ]]
}

# agent_says_primary: the same for other containers of the pod, which don't see that file. False when it doesn't answer.
agent_says_primary() {
  local agent answer=
  { exec {agent}<>/dev/tcp/127.0.0.1/24010; } 2>/dev/null || return
  printf 'GET /v1/state HTTP/1.0\r\nHost: localhost\r\n\r\n' >&"$agent"
  IFS= read -r -d '' -t 5 answer <&"$agent"
  exec {agent}>&-
  [[ $answer =~ \"role\":\ ?\"primary\" ]]
}
