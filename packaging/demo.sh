#!/bin/sh
# SPDX-License-Identifier: ISC
# Shows pgpoold at work: demo.sh [path of pgpoold]. Starts a PostgreSQL of its own and pgpoold before it, lets pgbench
# come with fifty clients through five server connections, asks the console, and sends a NOTIFY through a
# transaction pool. Touches nothing outside of one temporary folder and removes that at the end.
# On a terminal it waits for Enter before it cleans up, so that one can connect and try.
set -eu

pgpoold=${1:-build/pgpoold}
seconds=${DEMO_SECONDS:-5}

say() {
    if [ -t 1 ]; then
        printf '\n\033[1m== %s\033[0m\n' "$*"
    else
        printf '\n== %s\n' "$*"
    fi
}
fail() {
    echo "demo: $*" >&2
    exit 1
}

[ -x "$pgpoold" ] || fail "$pgpoold is not there: make"
pgpoold=$(realpath "$pgpoold")
bindir=${PG_BINDIR:-$(find /usr/lib/postgresql -maxdepth 2 -name bin 2>/dev/null | sort -V | tail -n 1)}
[ -x "$bindir/initdb" ] || fail "no PostgreSQL server found; set PG_BINDIR"

# PostgreSQL refuses to run as root: then both servers run as an ordinary user.
as=
if [ "$(id -u)" -eq 0 ]; then
    account=postgres
    id postgres >/dev/null 2>&1 || account=nobody
    as="setpriv --reuid=$account --regid=$(id -g "$account") --clear-groups"
fi

dir=$(mktemp -d /tmp/pgpoold-demo.XXXXXX)
postgres_pid=
pooler_pid=
listener_pid=
bench_pid=
# end SIGNAL PID: asks, and after five seconds insists.
end() {
    [ -n "$2" ] && kill "-$1" "$2" 2>/dev/null || return 0
    n=0
    while [ "$n" -lt 50 ] && kill -0 "$2" 2>/dev/null; do
        n=$((n + 1))
        sleep 0.1
    done
    kill -KILL "$2" 2>/dev/null || true
    wait "$2" 2>/dev/null || true
}
cleanup() {
    status=$?
    trap - EXIT
    end TERM "$listener_pid"
    end TERM "$bench_pid"
    end INT "$pooler_pid"
    end INT "$postgres_pid"
    if [ "$status" -ne 0 ]; then
        echo "demo failed; the end of the logs:" >&2
        tail -n 15 "$dir/postgres.log" "$dir/pgpoold.log" >&2 2>/dev/null || true
    fi
    rm -rf "$dir"
    exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
chmod 755 "$dir"
[ -z "$as" ] || chown "$account" "$dir"
# The build folder may lie where the other user cannot look.
cp "$pgpoold" "$dir/pgpoold"
chmod 755 "$dir/pgpoold"
cd "$dir"
unset PGHOST PGPORT PGUSER PGDATABASE PGPASSWORD PGSERVICE PGOPTIONS
export LC_ALL=C.UTF-8 PGCONNECT_TIMEOUT=10

free_port() {
    /usr/bin/python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}
# until_works COMMAND...: polls for ten seconds.
until_works() {
    n=0
    until "$@" >/dev/null 2>&1; do
        n=$((n + 1))
        [ "$n" -lt 100 ] || return 1
        sleep 0.1
    done
}

say "A private PostgreSQL, reached only over a Unix socket"
$as "$bindir/initdb" -D "$dir/data" -U postgres -A trust -E UTF8 --locale=C --no-sync >"$dir/initdb.log" 2>&1 ||
    { cat "$dir/initdb.log" >&2; fail "initdb"; }
$as "$bindir/postgres" -D "$dir/data" -c listen_addresses= -c unix_socket_directories="$dir" -c fsync=off \
    >"$dir/postgres.log" 2>&1 &
postgres_pid=$!
until_works "$bindir/psql" -h "$dir" -U postgres -c 'SELECT 1' || fail "PostgreSQL does not start"
"$bindir/psql" -q -h "$dir" -U postgres -c 'CREATE ROLE app LOGIN' -c 'CREATE DATABASE shop OWNER app'
"$bindir/psql" -At -h "$dir" -U postgres -c 'SELECT version()'

say "pgpoold before it: transaction pooling, five server connections"
port=$(free_port)
http_port=$(free_port)
cat >"$dir/pgpoold.ini" <<INI
[databases]
shop = host=$dir port=5432

[pgpoold]
listen_addr = 127.0.0.1
listen_port = $port
unix_socket_dir = $dir
auth_type = trust
auth_file = $dir/userlist.txt
admin_users = admin
pool_mode = transaction
default_pool_size = 5
max_client_conn = 200
max_prepared_statements = 100
http_port = $http_port
INI
printf '"app" ""\n"admin" ""\n' >"$dir/userlist.txt"
chmod 644 "$dir/pgpoold.ini" "$dir/userlist.txt"
cat "$dir/pgpoold.ini"
$as "$dir/pgpoold" "$dir/pgpoold.ini" >"$dir/pgpoold.log" 2>&1 &
pooler_pid=$!
shop="host=$dir port=$port user=app dbname=shop"
console="host=$dir port=$port user=admin dbname=${DEMO_CONSOLE:-pgpoold}"
until_works "$bindir/psql" "$shop" -c 'SELECT 1' || fail "pgpoold does not let a client in"

say "Fifty clients for $seconds seconds (pgbench -c 50)"
"$bindir/pgbench" -q -i -s 1 "$shop" >"$dir/pgbench.log" 2>&1 || { cat "$dir/pgbench.log" >&2; fail "pgbench -i"; }
"$bindir/pgbench" -n -S -M prepared -c 50 -j 2 -T "$seconds" "$shop" >"$dir/pgbench.log" 2>&1 &
bench_pid=$!
busy() {
    [ "$("$bindir/psql" -At -h "$dir" -U postgres -c \
        "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND state IS NOT NULL")" -ge 5 ]
}
until_works busy || fail "the pool does not fill"
"$bindir/psql" -h "$dir" -U postgres -c \
    "SELECT usename AS \"user\", count(*) AS \"connections that PostgreSQL sees meanwhile\"
     FROM pg_stat_activity WHERE usename = 'app' GROUP BY 1"
"$bindir/psql" -x "$console" -c 'SHOW POOLS' | grep -A 16 '| shop'
wait "$bench_pid" || { cat "$dir/pgbench.log" >&2; fail "pgbench"; }
bench_pid=
grep -E '^(query mode|number of clients|number of transactions|latency average|tps)' "$dir/pgbench.log"

say "What the console says: SHOW STATS"
"$bindir/psql" -x "$console" -c 'SHOW STATS' | grep -A 12 '| shop'

say "LISTEN and NOTIFY through the transaction pool"
# The listener holds no server connection while it waits.
cat >"$dir/listen.py" <<'PYTHON'
import sys
import psycopg
with psycopg.connect(sys.argv[1], autocommit=True) as conn:
    conn.execute("LISTEN orders")
    print("listener: LISTEN orders", flush=True)
    for notification in conn.notifies():
        print(f"listener: received on channel {notification.channel}: {notification.payload}", flush=True)
        break
PYTHON
/usr/bin/python3 "$dir/listen.py" "$shop" >"$dir/listen.log" 2>&1 &
listener_pid=$!
until_works grep -q 'LISTEN orders' "$dir/listen.log" || { cat "$dir/listen.log" >&2; fail "LISTEN"; }
"$bindir/psql" "$shop" -c "NOTIFY orders, 'order 42 was placed'"
until_works grep -q 'received' "$dir/listen.log" || { cat "$dir/listen.log" >&2; fail "the notification did not come"; }
wait "$listener_pid"
listener_pid=
cat "$dir/listen.log"

say "To try it yourself"
echo "  clients:  psql 'host=127.0.0.1 port=$port user=app dbname=shop'"
echo "  console:  psql '$console' -c 'SHOW HELP'"
echo "  watch:    $pgpoold top '$console'"
echo "  browser:  http://127.0.0.1:$http_port/"
if [ -t 0 ]; then
    printf '\nEnter ends the demo and removes everything. '
    read -r _ || true
else
    echo "  (not on a terminal: everything is removed now)"
fi
