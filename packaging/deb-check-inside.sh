#!/bin/bash
# SPDX-License-Identifier: ISC
# What deb-check.sh does in the container: the life of the package, as an administrator would see it.
set -u
export LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive PGCONNECT_TIMEOUT=20 PAGER=cat SYSTEMD_PAGER=cat
passed=0
failed=0
cd /root || exit 1
chmod 711 /root

# ok WHAT COMMAND...: the command works.
ok() {
    local what=$1 output
    shift
    if output=$("$@" 2>&1); then
        passed=$((passed + 1))
        echo "  ok: $what"
    else
        failed=$((failed + 1))
        printf '  FAILED: %s\n    %s\n' "$what" "${output//$'\n'/$'\n    '}"
        journalctl -u pgpoold.service -n 15 --no-pager 2>&1 | sed 's/^/    | /'
    fi
}
no() { ! "$@"; }
# Polls for half a minute.
soon() {
    local n=0
    until "$@" >/dev/null 2>&1; do
        n=$((n + 1))
        [ "$n" -lt 150 ] || { "$@"; return 1; }
        sleep 0.2
    done
}
says() { grep -qE "$1" <<<"$("${@:2}" 2>&1)" || { "${@:2}"; return 1; }; }
has_mode() { [ "$(stat -c '%a %U:%G' "$1")" = "$2" ] || { stat -c '%n: %a %U:%G' "$1"; return 1; }; }
main_pid() { systemctl show -P MainPID pgpoold.service; }
app() { psql -XAtw "host=127.0.0.1 port=6432 user=app dbname=shop password=secret $1" -c 'SELECT 42'; }
works() { says '^42$' app "${1:-}"; }
console() { setpriv --reuid=pgpoold --regid=pgpoold --clear-groups psql -XAtw -h /run/pgpoold -p 6432 -U pgpoold pgpoold -c "$1"; }
inventory() { find /etc /usr /lib /var/log /var/lib/systemd /run -xdev \( -name '*pgpoold*' -o -path '*pgpoold*' \) 2>/dev/null | sort; }
set_option() { sed -i "/^;* *$1 =/d; /^\[pgpoold\]/a $1 = $2" /etc/pgpoold/pgpoold.ini; }
drop_in() { mkdir -p /etc/systemd/system/pgpoold.service.d; cat >"/etc/systemd/system/pgpoold.service.d/$1.conf"; systemctl daemon-reload; }

systemctl start postgresql >/dev/null 2>&1
soon runuser -u postgres -- psql -XAtc 'SELECT 1' >/dev/null
cp -a /etc/passwd /etc/group /tmp/

echo "== first installation"
ok "the package installs" dpkg -i old.deb
ok "the user pgpoold exists" getent passwd pgpoold
ok "/etc/pgpoold is closed to others" has_mode /etc/pgpoold "750 root:pgpoold"
ok "the configuration belongs to its group" has_mode /etc/pgpoold/pgpoold.ini "640 root:pgpoold"
ok "so do the secrets" has_mode /etc/pgpoold/userlist.txt "640 root:pgpoold"
ok "/var/log/pgpoold is there" has_mode /var/log/pgpoold "750 pgpoold:adm"
ok "the service runs" soon systemctl is-active pgpoold.service
ok "it starts at boot" systemctl is-enabled pgpoold.service
ok "the socket unit is left to the administrator" no systemctl is-enabled pgpoold.socket
ok "the status says who is there" says '^running: 0 clients, 0 waiting, 0 servers' systemctl show -P StatusText pgpoold.service
ok "it runs as pgpoold, without a capability" says '^CapBnd:.0000000000000000' cat "/proc/$(main_pid)/status"
ok "under a system call filter" says '^Seccomp:.2' cat "/proc/$(main_pid)/status"
ok "systemd finds the sandbox tight" systemd-analyze security --threshold=20 pgpoold.service
ok "the units are right" systemd-analyze verify --man=no pgpoold.service pgpoold.socket pgpoold@1.service
ok "nobody logs in without a password over TCP" no psql -Xw -h 127.0.0.1 -p 6432 -U postgres postgres -c ''
ok "nobody else does over the Unix socket" no psql -Xw -h /run/pgpoold -p 6432 -U pgpoold pgpoold -c 'SHOW VERSION'
ok "the system user has the console" says '^pgpoold ' console 'SHOW VERSION'
ok "the manual is there" test -s /usr/share/man/man5/pgpoold.ini.5.gz -o -e /etc/dpkg/dpkg.cfg.d/docker

echo "== a database and a user"
runuser -u postgres -- psql -Xqc "CREATE ROLE app LOGIN PASSWORD 'secret'" -c 'CREATE DATABASE shop OWNER app'
runuser -u postgres -- psql -XAtc "SELECT '\"app\" \"'||rolpassword||'\"' FROM pg_authid WHERE rolname='app'" >>/etc/pgpoold/userlist.txt
sed -i 's/^; shop = /shop = /' /etc/pgpoold/pgpoold.ini
ok "a reload takes them in" systemctl reload pgpoold.service
ok "a query goes through" soon works
cp -p /etc/pgpoold/pgpoold.ini good.ini
set_option listen_prot 1
ok "a mistake in the file makes the reload fail" no systemctl reload pgpoold.service
ok "and the journal says where" soon says 'pgpoold.ini:[0-9]+: listen_prot' journalctl --no-pager -u pgpoold.service
ok "but not the service" works
cat good.ini >/etc/pgpoold/pgpoold.ini

echo "== a log file and logrotate"
set_option logfile /var/log/pgpoold/pgpoold.log
ok "the log goes to a file" systemctl reload pgpoold.service
ok "which is there" soon test -s /var/log/pgpoold/pgpoold.log
as_its_user() { logrotate -d /etc/logrotate.d/pgpoold 2>&1 | grep -q "switching euid from 0 to $(id -u pgpoold) and egid from 0 to $(getent group adm | cut -d: -f3)"; }
ok "logrotate works as the user of the log" as_its_user
ok "logrotate likes its file" logrotate -f /etc/logrotate.d/pgpoold
ok "the service writes to the new file" soon grep -q 'configuration reloaded' /var/log/pgpoold/pgpoold.log
ok "the new file is readable for adm" has_mode /var/log/pgpoold/pgpoold.log "640 pgpoold:adm"
ok "the old one is kept" test -s /var/log/pgpoold/pgpoold.log.1

echo "== TLS keys, PAM, Unix sockets of PostgreSQL in the sandbox"
set_option client_tls_sslmode allow
set_option client_tls_key_file /etc/ssl/private/ssl-cert-snakeoil.key
set_option client_tls_cert_file /etc/ssl/certs/ssl-cert-snakeoil.pem
ok "a key of another group cannot be read" no systemctl reload pgpoold.service
drop_in keys <"/usr/share/doc/pgpoold/systemd/keys.conf"
ok "with the drop-in it can" systemctl restart pgpoold.service
ok "clients get TLS" soon works sslmode=require
printf 'auth required pam_exec.so quiet /bin/true\naccount required pam_permit.so\n' >/etc/pam.d/pgbouncer
set_option auth_type pam
sed -i '1i local shop app scram-sha-256' /etc/postgresql/*/main/pg_hba.conf
systemctl reload postgresql
sed -i 's,^shop = .*,shop = host=/var/run/postgresql user=app password=secret,' /etc/pgpoold/pgpoold.ini
systemctl restart pgpoold.service
ok "PAM lets a client in, PostgreSQL is reached over its Unix socket" soon works
cat good.ini >/etc/pgpoold/pgpoold.ini
ok "without them again" systemctl restart pgpoold.service

echo "== the watchdog"
printf '[Service]\nWatchdogSec=2\nTimeoutAbortSec=5\n' | drop_in watchdog
systemctl restart pgpoold.service
pid=$(main_pid)
kill -STOP "$pid"
is_another() { [ "$(main_pid)" != "$pid" ] && [ "$(main_pid)" != 0 ]; }
ok "a process that is stuck is replaced" soon is_another
ok "the next one serves" soon works
pid=$(main_pid)
kill -KILL "$pid"
ok "so is one that was killed" soon is_another
ok "which serves too" soon works
rm -r /etc/systemd/system/pgpoold.service.d
systemctl daemon-reload
systemctl restart pgpoold.service

echo "== systemctl reload as an online restart"
drop_in online-restart <"/usr/share/doc/pgpoold/systemd/online-restart.conf"
set_option pidfile /run/pgpoold/pgpoold.pid
set_option logfile /var/log/pgpoold/pgpoold.log
set_option server_tls_sslmode disable # what has TLS stays with the old process
systemctl restart pgpoold.service
ok "the service runs with the drop-in" soon works
mkfifo to_session
psql -XAtw "host=127.0.0.1 port=6432 user=app dbname=shop password=secret" <to_session >from_session 2>&1 &
session=$!
exec 5>to_session
echo "BEGIN; SELECT 'it began';" >&5
ok "a client is in a transaction" soon grep -q 'it began' from_session
pid=$(main_pid)
ok "the reload works" systemctl reload pgpoold.service
ok "there is another main process" soon is_another
echo "SELECT 'it went on'; COMMIT;" >&5
ok "the transaction goes on" soon grep -q 'it went on' from_session
exec 5>&-
wait "$session"
ok "and is committed" grep -q COMMIT from_session
ok "the old process ends" soon no kill -0 "$pid"
ok "the new one serves" works
ok "and is told so by systemd" systemctl is-active pgpoold.service
set_option listen_prot 1
ok "a mistake in the file makes that fail too" no systemctl reload pgpoold.service
ok "and nothing else" works
ok "the service can be stopped" systemctl stop pgpoold.service
ok "then nothing runs" soon no pgrep -x pgpoold
rm -r /etc/systemd/system/pgpoold.service.d
systemctl daemon-reload
cat good.ini >/etc/pgpoold/pgpoold.ini
ok "without it again" systemctl start pgpoold.service

echo "== socket activation"
systemctl stop pgpoold.service
ok "the socket unit starts" systemctl enable --now pgpoold.socket
ok "the first client starts the service" works
ok "which uses the sockets" soon says 'from systemd: pgpoold.socket' journalctl --no-pager -u pgpoold.service
( for _ in 1 2 3 4 5; do systemctl restart pgpoold.service; done ) &
restarts=$!
refused=0
while kill -0 "$restarts" 2>/dev/null; do
    says 'Connection refused|No such file' app '' >/dev/null && refused=$((refused + 1))
done
wait "$restarts"
ok "nobody is refused while it restarts five times" test "$refused" = 0
# So many starts in a minute would be a reason to give up.
systemctl reset-failed pgpoold.service
systemctl stop pgpoold.service
ok "the Unix socket outlives the service" test -S /run/pgpoold/.s.PGSQL.6432
ok "and starts it" soon says '^pgpoold ' console 'SHOW VERSION'
systemctl disable --now pgpoold.socket 2>/dev/null
systemctl stop pgpoold.service

echo "== two processes on one port"
for n in 1 2; do
    printf '%%include /etc/pgpoold/pgpoold.ini\n[pgpoold]\nso_reuseport = 1\npeer_id = %s\nunix_socket_dir = /run/pgpoold/%s\n[peers]\n1 = host=/run/pgpoold/1\n2 = host=/run/pgpoold/2\n' \
        "$n" "$n" >"/etc/pgpoold/$n.ini"
    chown root:pgpoold "/etc/pgpoold/$n.ini"
    chmod 640 "/etc/pgpoold/$n.ini"
    ok "process $n starts" systemctl start "pgpoold@$n.service"
done
ok "they serve" works
ok "each has a Unix socket" test -S /run/pgpoold/1/.s.PGSQL.6432 -a -S /run/pgpoold/2/.s.PGSQL.6432
systemctl stop pgpoold@1.service
ok "one goes on alone" works
systemctl stop pgpoold@2.service
rm /etc/pgpoold/[12].ini
systemctl start pgpoold.service

echo "== an upgrade"
chmod 600 /etc/pgpoold/pgpoold.ini
chown pgpoold: /etc/pgpoold/pgpoold.ini
cp -p /etc/pgpoold/pgpoold.ini good.ini
pid=$(main_pid)
ok "the new version installs without a question" dpkg -i new.deb
ok "the service is a new process" is_another
ok "and serves" soon works
ok "the configuration is as it was" cmp good.ini /etc/pgpoold/pgpoold.ini
ok "so is its mode" has_mode /etc/pgpoold/pgpoold.ini "600 pgpoold:pgpoold"
ok "a file that nobody had changed is the new one" no grep -q 'version before' /etc/logrotate.d/pgpoold

echo "== the end"
ok "the package can be removed" dpkg -r pgpoold
ok "nothing runs any more" no pgrep -x pgpoold
ok "the configuration stays" test -s /etc/pgpoold/pgpoold.ini
ok "it can be installed again" dpkg -i new.deb
ok "and runs with the old configuration" soon works
ok "it can be purged" dpkg -P pgpoold
rm -f /etc/pam.d/pgbouncer
ok "nothing is left" test -z "$(inventory)" || inventory
inventory | sed 's/^/    left: /'

echo "$passed passed, $failed failed"
