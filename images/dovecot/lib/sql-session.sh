# Sourced by programs that ask the directory again and again: one psql that stays connected.
#   sql_environment USER NAME   PG* variables for connections as USER; PGHOST and PGPORT are the caller's
#   ask SQL                     prints the rows (fields separated by spaces); fails when there is no answer within 6 s
# After a failure the connection is closed; the next `ask` opens another, to another member if PGHOST lists several.
# shellcheck shell=bash

sql_environment() {
  export PGUSER=$1 PGAPPNAME=$2 PGDATABASE=posthorn PGCONNECT_TIMEOUT=3 PGLOADBALANCEHOSTS=random PGSSLMODE=verify-full \
    PGSSLROOTCERT=/tls/ca.crt PGSSLCERT=/tls/tls.crt PGSSLKEY=/tls/tls.key
}

sql_pid=
sql_in=
sql_out=

sql_close() {
  [[ -n $sql_pid ]] || return 0
  kill "$sql_pid" 2>/dev/null
  exec {sql_in}>&- {sql_out}<&-
  wait "$sql_pid" 2>/dev/null
  sql_pid=
}

sql_open() {
  coproc SQL { exec psql -X -q -A -t -F ' ' -v ON_ERROR_STOP=1 -d "dbname=posthorn tcp_user_timeout=6000 keepalives_idle=5" 2>&1; }
  sql_pid=$SQL_PID
  # Descriptors of our own: those of a coprocess vanish when it ends.
  exec {sql_in}>&"${SQL[1]}" {sql_out}<&"${SQL[0]}"
}

ask() {
  [[ -n $sql_pid ]] || sql_open
  local line lines=()
  if printf '%s;\n\\echo :end:\n' "$1" >&"$sql_in"; then
    while IFS= read -r -t 6 line <&"$sql_out"; do
      if [[ $line == :end: ]]; then
        ((${#lines[@]} == 0)) || printf '%s\n' "${lines[@]}"
        return 0
      fi
      lines+=("$line")
    done
  fi 2>/dev/null
  echo "directory: ${lines[*]:-no answer from $PGHOST}" >&2
  sql_close
  return 1
}

# literal TEXT: TEXT as an SQL literal, whatever it holds.
literal() {
  printf "convert_from(decode('%s', 'base64'), 'UTF8')" "$(printf %s "$1" | base64 -w 0)"
}
