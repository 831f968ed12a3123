#!/bin/sh
# postgres-programs.sh CACHE MAJOR SUITE DIR: unpacks into DIR the PostgreSQL of
# another Debian release and prints the folder of its programs, which run on this
# machine beside its own. Nothing is installed and no root is needed: packages
# are fetched by apt into CACHE, whose lists and keys are not this machine's.
#
# A program of a newer release needs that release's libc, so each is replaced by
# a line of shell that starts it by the loader from DIR. It is told the name of
# that script, not its own, because Postgres finds its other files from there.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"

cache=$1
major=$2
suite=$3
dir=$4

keys=${DEBIAN_KEYS:-/usr/share/keyrings/debian-archive-keyring.gpg}
[ -r "$keys" ] || {
    echo "no keys of Debian's archive in $keys: install debian-archive-keyring, or set DEBIAN_KEYS" >&2
    exit 1
}
mkdir -p "$cache/etc/apt"
echo "deb [signed-by=$keys] $("$here/mirror.sh") $suite main" >"$cache/etc/apt/sources.list"
{
    apt_at "$cache" update && apt_at "$cache" install -y --download-only "postgresql-$major"
} >"$cache/log" 2>&1 || {
    tail -n 20 "$cache/log" >&2
    echo "postgresql-$major cannot be had from $suite (the whole log: $cache/log)" >&2
    exit 1
}

mkdir -p "$dir"
chmod 755 "$dir"
dir=$(realpath "$dir")
for deb in "$cache"/var/cache/apt/archives/*.deb; do
    dpkg-deb --extract "$deb" "$dir"
done

bin=$dir/usr/lib/postgresql/$major/bin
loader=$(find "$dir/usr/lib64" "$dir/lib64" "$dir/usr/lib" "$dir/lib" -name 'ld-linux*.so.*' 2>/dev/null | head -n 1)
libraries=$(find "$dir/usr/lib" "$dir/lib" -name '*.so*' ! -path '*/postgresql/*' ! -path '*/perl*' -printf '%h\n' 2>/dev/null | sort -u | paste -sd :)
[ -n "$loader" ] || {
    echo "no dynamic loader in the packages of $suite" >&2
    exit 1
}
mkdir "$bin/real"
for name in initdb postgres pg_ctl pg_controldata pg_isready pg_basebackup pg_resetwal psql \
    pg_upgrade pg_dump pg_dumpall pg_restore vacuumdb; do
    [ -e "$bin/$name" ] || continue
    mv "$bin/$name" "$bin/real/$name"
    printf '#!/bin/sh\nexec "%s" --argv0 "%s" --library-path "%s" "%s" "$@"\n' \
        "$loader" "$bin/$name" "$libraries" "$bin/real/$name" >"$bin/$name"
    chmod 755 "$bin/$name"
done
"$bin/postgres" --version | grep -qF " $major." || {
    echo "$bin/postgres is not Postgres $major" >&2
    exit 1
}
echo "$bin"
