#!/bin/sh
# SPDX-License-Identifier: ISC
# check.sh TARBALL: what rpmlint says of the spec and of a package made of it. On Debian, where the macros of systemd and the
# -devel packages have other names: the macros are given here, the dependencies are not looked for.
set -eu
cd "$(dirname "$0")/../.."
tarball=$(realpath "$1")
top=$(pwd)/build/rpm
rm -rf "$top"
mkdir -p "$top/SOURCES"
cp "$tarball" "$top/SOURCES/"
rpmlint -c packaging/rpm/rpmlint.toml --strict packaging/rpm/pgpoold.spec
rpmbuild -bb --nodeps --nocheck --quiet --define "_topdir $top" --define '_unitdir /usr/lib/systemd/system' \
    --define '_sysusersdir /usr/lib/sysusers.d' --define '_tmpfilesdir /usr/lib/tmpfiles.d' \
    --define '_docdir /usr/share/doc' --define 'sysusers_create_compat() :' --define 'tmpfiles_create() :' \
    --define 'systemd_post() :' --define 'systemd_preun() :' --define 'systemd_postun_with_restart() :' \
    --define '_build_id_links none' packaging/rpm/pgpoold.spec >"$top/log" 2>&1 ||
    { tail -n 30 "$top/log" >&2; exit 1; }
for package in "$top"/RPMS/*/*.rpm; do
    rpm -qp --nosignature "$package"
done
