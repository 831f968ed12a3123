#!/bin/sh
# arch.sh BIN_FOLDER: runs the programs for other architectures by qemu: they
# start, serve, answer their own health check and stop; with the demo's data they
# also back up, restore and check. It finds what a compiler cannot: 64-bit values
# that are not aligned on 32-bit machines, mappings that do not fit, files that
# another architecture could not read.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"

bin=$1
need qemu-arm-static qemu-aarch64-static curl python3
work=$(mktemp -d)
pid=
finish() {
    code=$?
    [ -z "$pid" ] || kill "$pid" 2>/dev/null || true
    [ $code -eq 0 ] || cat "$work/log" 2>/dev/null || true
    rm -rf "$work"
    exit $code
}
trap finish EXIT
trap 'exit 130' INT TERM

here_arch=$(dpkg --print-architecture)

ended() {
    kill -TERM "$pid"
    wait "$pid" || fail "$arch: exit code $? after SIGTERM"
    pid=
    say "ok: $arch: SIGTERM ends it with 0"
}

free_port() { python3 -c 'import socket; s=socket.socket(); s.bind(("127.0.0.1",0)); print(s.getsockname()[1])'; }

for pair in armhf:arm arm64:aarch64; do
    arch=${pair%%:*}
    run="qemu-${pair##*:}-static $bin/$arch/carbond"
    want "$arch: version" $run version
    grpc=127.0.0.1:$(free_port)
    http=127.0.0.1:$(free_port)
    # shellcheck disable=SC2086 # two words
    env -i PATH="$PATH" CARBOND_CONFIG=/dev/null CARBOND_DATA_DIR="$work/$arch" CARBOND_FEEDS_ENABLED=none \
        CARBOND_GRPC_LISTEN="$grpc" CARBOND_HTTP_LISTEN="$http" $run serve >"$work/log" 2>&1 &
    pid=$!
    until_ok 60 "$arch: serves" curl -fsS "http://$http/readyz"
    want "$arch: /metrics answers" sh -c "curl -fsS http://$http/metrics | grep -q '^carbond_'"
    until_ok 30 "$arch: healthcheck agrees" $run healthcheck --addr "$grpc"
    ended
    want "$arch: fsck finds nothing" env CARBOND_CONFIG=/dev/null CARBOND_DATA_DIR="$work/$arch" $run fsck

    # shellcheck disable=SC2086 # two words
    env -i PATH="$PATH" TMPDIR="$work" CARBOND_CONFIG=/dev/null $run demo --grpc-listen "$grpc" --http-listen "$http" >"$work/log" 2>&1 &
    pid=$!
    until_ok 60 "$arch: the demo has rows" sh -c "$run view finance --addr $grpc | grep -q KRBN"
    want "$arch: backup of the running demo" $run backup "$work/$arch.backup" --addr "$grpc"
    ended
    restored="env CARBOND_CONFIG=/dev/null CARBOND_DATA_DIR=$work/$arch.restored"
    want "$arch: restore" $restored $run restore "$work/$arch.backup"
    want "$arch: fsck of what was restored" $restored $run fsck
    want "$arch: this machine's program finds the same" sh -c "[ \"\$($restored $run fsck)\" = \"\$($restored $bin/$here_arch/carbond fsck)\" ]"
done
say "architectures: all steps passed"
