#!/bin/sh
# pg-matrix.sh CACHE SCOPE MAJOR:SUITE...: the tests of the Postgres side against
# other majors than this machine's, each from the Debian release that has it.
# SCOPE is "replicate", or "all" for the oracle too. CACHE keeps the packages;
# what is unpacked goes when it ends.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"

cache=$1
scope=$2
shift 2
need apt-get dpkg-deb go
# Outside the checkout: Postgres runs as the user postgres when this is root, who
# may not be able to get there.
work=$(mktemp -d)
chmod 755 "$work"
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

packages=./replicate/...
[ "$scope" = replicate ] || packages="$packages ./cmd/carbond/internal/e2e"
failed=
for entry; do
    major=${entry%%:*}
    bin=$("$here/postgres-programs.sh" "$cache/$major" "$major" "${entry#*:}" "$work/$major") || exit 1
    say "$("$bin/postgres" --version), of ${entry#*:}"
    # shellcheck disable=SC2086 # several packages
    if CARBOND_TEST_PGBIN=$bin CARBOND_TEST_REQUIRE=1 go test -count=1 -timeout 30m $packages &&
        # From this machine's version to that one.
        CARBOND_TEST_UPGRADE_PGBIN=$bin go test -count=1 -run TestAdoptUpgrade ./replicate; then
        say "ok: Postgres $major"
    else
        failed="$failed $major"
    fi
    rm -rf "${work:?}/$major"
done
[ -z "$failed" ] || fail "Postgres$failed"
say "Postgres: all versions passed"
