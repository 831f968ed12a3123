#!/bin/sh
# root.sh DIR [SUITE]: makes DIR a Debian (12 unless told) with systemd and Postgres, unless it is
# one already. It is never changed afterwards: tests run on an overlay of it.
set -eu
dir=$1
suite=${2:-bookworm}
[ -e "$dir/.complete" ] && exit 0

echo "building $dir with debootstrap, once"
mirror=$("$(dirname "$0")/mirror.sh")
mkdir -p "$(dirname "$dir")"

# Made under another name, so that what a failure leaves is never taken for a
# system, and again, because mirrors stumble; packages fetched so far are kept.
part=$dir.part
cache=$(realpath -m "$dir.debs")
mkdir -p "$cache"
finish() {
    code=$?
    # debootstrap mounts these and leaves them when it is interrupted.
    for m in proc sys dev/pts dev/shm; do
        ! mountpoint -q "$part/$m" || umount -l "$part/$m" || code=1
    done
    [ $code -eq 0 ] || rm -rf --one-file-system "$part"
    exit $code
}
trap finish EXIT
trap 'exit 130' INT TERM
for try in 1 2 3; do
    rm -rf --one-file-system "$part"
    debootstrap --variant=minbase --cache-dir="$cache" \
        --include=systemd,systemd-sysv,dbus,postgresql,curl,procps,man-db,ca-certificates \
        "$suite" "$part" "$mirror" >"$dir.log" 2>&1 && break
    tail -n 20 "$dir.log" >&2
    [ "$try" -lt 3 ] || exit 1
    echo "debootstrap failed; once more" >&2
    for m in proc sys dev/pts dev/shm; do
        ! mountpoint -q "$part/$m" || umount -l "$part/$m"
    done
    sleep "$try"
done
rm -rf --one-file-system "$dir" "$cache"
mv "$part" "$dir"
touch "$dir/.complete"
