#!/bin/sh
# SPDX-License-Identifier: ISC
# Installs, uses, upgrades and purges the Debian package in a Debian of its own that runs under its own systemd: deb-check.sh,
# as root, after `make deb`. The system is made by debootstrap from this machine's mirror and kept in build/deb-check/base;
# each run works in an overlay of it that vanishes with it, in namespaces of its own and without a network.
# The last line is "N passed, N failed".
set -eu
cd "$(dirname "$0")/.."
top=$(pwd)
work=$top/build/deb-check

if [ "$(id -u)" -ne 0 ]; then
    echo "deb-check.sh: needs root (debootstrap, systemd-nspawn)" >&2
    exit 1
fi
deb=
for found in build/deb/pgpoold_*.deb; do
    [ -e "$found" ] && deb=$top/$found
done
[ -n "$deb" ] || { echo "deb-check.sh: there is no package: make deb" >&2; exit 1; }

# The mirror that apt uses here, in the old and in the new kind of file.
mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null |
    sed -n -E 's,^(URIs:|deb( \[[^]]*\])?) +(https?://[^ ]*/debian)/?( .*)?$,\3,p' | head -n 1)
suite=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)

# --- the base system: with what the package depends on, so that a run needs no network ---

make_base() {
    rm -rf "$work/base" "$work/base.new"
    mkdir -p "$work"
    debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,logrotate,openssl,ssl-cert \
        "$suite" "$work/base.new" "${mirror:-http://deb.debian.org/debian}" >"$work/debootstrap.log" 2>&1 ||
        { tail -n 20 "$work/debootstrap.log" >&2; exit 1; }
    printf '#!/bin/sh\nexit 101\n' >"$work/base.new/usr/sbin/policy-rc.d"
    chmod 755 "$work/base.new/usr/sbin/policy-rc.d"
    cp "$deb" "$work/base.new/root/first.deb"
    # The package goes at once, its dependencies stay. No alternative of /proc: apt needs none here.
    chroot "$work/base.new" sh -ec '
        export DEBIAN_FRONTEND=noninteractive
        apt-get -q update
        apt-get -q -y -o Dpkg::Use-Pty=0 install --no-install-recommends postgresql /root/first.deb
        apt-get -q -y -o Dpkg::Use-Pty=0 purge pgpoold
        apt-mark showauto | xargs apt-mark manual >/dev/null
        apt-get clean
        rm -f /usr/sbin/policy-rc.d /root/first.deb
    ' >>"$work/debootstrap.log" 2>&1 || { tail -n 20 "$work/debootstrap.log" >&2; exit 1; }
    # What the first installation left is what a purge may leave; a run wants to see it come.
    sed -i '/^pgpoold:/d' "$work/base.new/etc/passwd" "$work/base.new/etc/group" "$work/base.new/etc/shadow" \
        "$work/base.new/etc/gshadow"
    dpkg-deb -f "$deb" Depends >"$work/base.new/.depends"
    mv "$work/base.new" "$work/base"
}

if [ "${1:-}" != inside ]; then
    # Other dependencies want another base.
    if [ "$(cat "$work/base/.depends" 2>/dev/null)" != "$(dpkg-deb -f "$deb" Depends)" ]; then
        echo "deb-check.sh: making the base system (once; its log: build/deb-check/debootstrap.log)"
        make_base
    fi
    exec unshare --mount --propagation private "$0" inside
fi

# --- one run; whatever is mounted here ends with this namespace ---

mkdir -p "$work/run"
mount -t tmpfs -o size=600m,mode=755 tmpfs "$work/run"
mkdir "$work/run/upper" "$work/run/overlay" "$work/run/root"
mount -t overlay -o "lowerdir=$work/base,upperdir=$work/run/upper,workdir=$work/run/overlay" overlay "$work/run/root"
root=$work/run/root

# The version before: the same program under a lower number, with another file for logrotate.
dpkg-deb -R "$deb" "$work/run/old"
sed -i 's/^Version: .*/&~before/' "$work/run/old/DEBIAN/control"
echo "# of the version before" >>"$work/run/old/etc/logrotate.d/pgpoold"
dpkg-deb --root-owner-group -b "$work/run/old" "$root/root/old.deb" >/dev/null
cp "$deb" "$root/root/new.deb"
cp packaging/deb-check-inside.sh "$root/root/inside.sh"
cat >"$root/etc/systemd/system/deb-check.service" <<'UNIT'
[Unit]
After=multi-user.target
[Service]
Type=idle
ExecStart=/root/inside.sh
ExecStopPost=/bin/systemctl poweroff --force
StandardOutput=append:/root/result
StandardError=append:/root/result
UNIT
mkdir -p "$root/etc/systemd/system/default.target.wants"
ln -s ../deb-check.service "$root/etc/systemd/system/default.target.wants/deb-check.service"

timeout 400 systemd-nspawn -q --register=no --keep-unit --private-network --boot -D "$root" \
    </dev/null >"$work/console.log" 2>&1 || echo "deb-check.sh: the container ended with $?" >&2
if ! grep -q ' passed, ' "$root/root/result" 2>/dev/null; then
    tail -n 40 "$work/console.log" >&2
    cat "$root/root/result" 2>/dev/null || true
    echo "0 passed, 1 failed"
    exit 1
fi
cat "$root/root/result"
tail -n 1 "$root/root/result" | grep -q ' 0 failed$'
