#!/bin/sh
# SPDX-License-Identifier: ISC
# Says which tools and libraries the build lacks: check-build-deps.sh PKGCONFIG-NAME... -- HEADER...
# Looks at what is there, not at a package database, so it works on every distribution.
set -u

pkg_config=${PKG_CONFIG:-pkg-config}
cc=${CC:-cc}
missing=

debian_name() {
    case $1 in
    libpq) echo libpq-dev ;;
    inih) echo libinih-dev ;;
    openssl) echo libssl-dev ;;
    libcares) echo libc-ares-dev ;;
    libidn) echo libidn-dev ;;
    libxxhash) echo libxxhash-dev ;;
    libsystemd) echo libsystemd-dev ;;
    pam) echo libpam0g-dev ;;
    ldap) echo libldap-dev ;;
    libmicrohttpd) echo libmicrohttpd-dev ;;
    ev.h) echo libev-dev ;;
    uthash.h) echo uthash-dev ;;
    cc) echo gcc ;;
    pkg-config) echo pkgconf ;;
    *) echo "$1" ;;
    esac
}

lack() {
    missing="$missing
  $1 (Debian: $(debian_name "$1"))"
}

command -v "${cc%% *}" >/dev/null || lack "${cc%% *}"
command -v "${pkg_config%% *}" >/dev/null || lack pkg-config
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    $pkg_config --exists "$1" 2>/dev/null || lack "$1"
    shift
done
[ $# -gt 0 ] && shift
for header in "$@"; do
    echo "#include <$header>" | $cc -E -x c - >/dev/null 2>&1 || lack "$header"
done
[ -z "$missing" ] && exit 0
echo "pgpoold cannot be built here, these are missing:$missing" >&2
echo "On Debian and Ubuntu \`make deps\` installs them." >&2
exit 1
