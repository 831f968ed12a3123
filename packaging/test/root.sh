#!/bin/sh
# root.sh DIR [SUITE]: makes DIR a Debian (12 unless told) with systemd and Postgres, unless it is
# one already. It is never changed afterwards: tests run on an overlay of it.
set -eu
dir=$1
suite=${2:-bookworm}
[ -e "$dir/.complete" ] && exit 0

echo "building $dir with debootstrap, once"
rm -rf "$dir"
mkdir -p "$(dirname "$dir")"
debootstrap --variant=minbase \
    --include=systemd,systemd-sysv,dbus,postgresql,curl,procps,man-db,ca-certificates \
    "$suite" "$dir" "${DEBIAN_MIRROR:-http://deb.debian.org/debian}" >"$dir.log" 2>&1 || {
    tail -n 20 "$dir.log" >&2
    exit 1
}
touch "$dir/.complete"
