#!/bin/sh
# SPDX-License-Identifier: ISC
# Installs the Debian packages that are missing: deps.sh SET..., the sets being build, demo, test, lint, bench,
# package, afl.
# Quick when nothing is missing: one look at dpkg's database, no apt. Never leaves a service behind: neither a
# PostgreSQL cluster on port 5432 nor a started pgbouncer.
set -eu

[ $# -gt 0 ] || set -- build test lint bench

packages=
for set in "$@"; do
    case $set in
    build)
        packages="$packages gcc libc6-dev make pkgconf libpq-dev libev-dev libinih-dev libssl-dev libc-ares-dev
            libidn-dev libsystemd-dev libxxhash-dev uthash-dev libmicrohttpd-dev libpam0g-dev libldap-dev
            scdoc"
        ;;
    demo) # what a stranger waits for before anything is to be seen: keep it short
        packages="$packages postgresql-15 python3 python3-psycopg"
        ;;
    test)
        packages="$packages clang libclang-rt-14-dev llvm valgrind libcmocka-dev postgresql-15 openssl python3
            python3-pytest python3-pytest-xdist python3-psycopg python3-psycopg2 python3-asyncpg python3-aiopg
            python3-async-timeout python3-sqlalchemy procps libdbd-pg-perl openjdk-17-jre-headless
            libpostgresql-jdbc-java prometheus-pgbouncer-exporter python3-prometheus-client prometheus chromium
            slapd ldap-utils libpam-modules strace nsd pgbouncer haproxy
            systemd python3-seccomp logrotate bash-completion python3-yaml
            golang-go golang-github-jackc-pgx-v4-dev golang-github-lib-pq-dev"
        # npm fetches pg and playwright-core (tests/integration/npm.py). A Node.js from elsewhere has it; Debian's is a package.
        command -v npm >/dev/null || packages="$packages nodejs npm"
        ;;
    lint)
        packages="$packages clang clang-format clang-tidy cppcheck codespell shellcheck python3"
        ;;
    package)
        packages="$packages debhelper dpkg-dev fakeroot lintian debootstrap systemd-container rpm rpmlint"
        ;;
    afl)
        packages="$packages afl++"
        ;;
    bench)
        packages="$packages pgbouncer haproxy postgresql-15 openssl strace valgrind python3"
        ;;
    *)
        echo "deps.sh: no set called $set (build, demo, test, lint, bench, package, afl)" >&2
        exit 2
        ;;
    esac
done

if ! command -v dpkg-query >/dev/null; then
    echo "deps.sh: not a Debian system; these packages are wanted, by their Debian names:" >&2
    # shellcheck disable=SC2086 # one line out of several
    echo $packages >&2
    exit 1
fi

# shellcheck disable=SC2086 # the list is meant to be split
installed=$(dpkg-query -W -f '${db:Status-Abbrev} ${Package}\n' $packages 2>/dev/null | sed -n 's/^ii *//p') || true
missing=
for package in $packages; do
    case "
$installed
" in
    *"
$package
"*) ;;
    *) missing="$missing $package" ;;
    esac
done
[ -n "$missing" ] || exit 0

as_root=
if [ "$(id -u)" -ne 0 ]; then
    if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
        as_root="sudo -n"
    else
        echo "deps.sh: these packages are missing, and installing them needs root:" >&2
        echo "  apt-get install$missing" >&2
        exit 1
    fi
fi

echo "deps.sh: installing$missing"

# postgresql-15 would create a cluster on port 5432. Our line is taken away again afterwards.
cluster_conf=/etc/postgresql-common/createcluster.d/pgpoold-deps.conf
policy=/usr/sbin/policy-rc.d
made_policy=no
cleanup() {
    $as_root rm -f "$cluster_conf"
    if [ "$made_policy" = yes ]; then
        $as_root rm -f "$policy"
    fi
}
trap cleanup EXIT
trap 'exit 1' INT TERM
$as_root mkdir -p "${cluster_conf%/*}"
echo "create_main_cluster = false" | $as_root tee "$cluster_conf" >/dev/null
# invoke-rc.d asks this before it starts a service: 101 forbids. A policy of the machine's own stays as it is.
if [ ! -e "$policy" ]; then
    made_policy=yes
    printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null
    $as_root chmod 0755 "$policy"
fi

apt() {
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Dpkg::Use-Pty=0 "$@"
}
# shellcheck disable=SC2086
apt install --no-install-recommends $missing || { apt update && apt install --no-install-recommends $missing; }
