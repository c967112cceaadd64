# Where a forward leads: addresses outside, and RULE.KEY@courier.invalid for webhooks and commands. Original sender of an
# SRS address. Nothing for any other address, which stays as it is.
# pgsql_table(5). One URI with every directory member: libpq picks one at random and goes on to the next when it does
# not answer; Postfix keeps two such connections as each other's spare. (The entrypoint writes the list's commas as
# %2C, since Postfix itself splits "hosts" at commas.) retry_interval must exceed 2 x members x connect_timeout.
hosts = postgresql:///posthorn?host=@DIRECTORY_HOSTS@&port=@DIRECTORY_PORT@&user=posthorn_forward&sslmode=verify-full&sslrootcert=/run/posthorn/tls/ca.crt&sslcert=/run/posthorn/tls/tls.crt&sslkey=/run/posthorn/tls/tls.key&connect_timeout=2&load_balance_hosts=random&tcp_user_timeout=4000&keepalives_idle=5&keepalives_interval=2&keepalives_count=2&application_name=postfix-forward
retry_interval = 15
idle_interval = 60
query = SELECT answer FROM directory_v1.forward_targets('%s') AS answer WHERE answer IS NOT NULL AND '%u' <> '' AND '%d' <> ''
