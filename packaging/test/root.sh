#!/bin/sh
# root.sh DIR [SUITE]: makes DIR a Debian (12 unless told) with systemd and Postgres, unless it is
# one already. It is never changed afterwards: tests run on an overlay of it.
set -eu
dir=$1
suite=${2:-bookworm}
[ -e "$dir/.complete" ] && exit 0

echo "building $dir with debootstrap, once"
# From where this machine has its own packages; DEBIAN_MIRROR is for others.
mirror=${DEBIAN_MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' "Created-By: Packages" | head -n 1)}
[ -n "$mirror" ] || { echo "no Debian mirror known: set DEBIAN_MIRROR" >&2; exit 1; }
rm -rf "$dir"
mkdir -p "$(dirname "$dir")"
debootstrap --variant=minbase \
    --include=systemd,systemd-sysv,dbus,postgresql,curl,procps,man-db,ca-certificates \
    "$suite" "$dir" "$mirror" >"$dir.log" 2>&1 || {
    tail -n 20 "$dir.log" >&2
    exit 1
}
touch "$dir/.complete"
