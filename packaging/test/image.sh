#!/bin/sh
# image.sh DIST TAG GRPCURL: the image as its user would run it, with everything
# taken away that it should not need. Needs podman; nothing outside its
# container and one volume is touched.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"

dist=$1
tag=$2
grpcurl=$(realpath "$3")
arch=$(dpkg --print-architecture)
[ "$arch" = armhf ] && arch=armv7
image=localhost/carbond:$tag
name=carbond-image-test-$$

need podman runc curl ps

finish() {
    code=$?
    [ $code -eq 0 ] || podman logs "$name" 2>&1 | tail -n 40 || true
    podman rm -f -t 2 "$name" >/dev/null 2>&1 || true
    podman volume rm -f "$name" >/dev/null 2>&1 || true
    podman rmi -f "$image" localhost/carbond:latest ${oci:-} >/dev/null 2>&1 || true
    exit $code
}
trap finish EXIT
trap 'exit 130' INT TERM

field() { podman image inspect --format "$1" "$image"; }
port() { podman port "$name" "$1" | sed 's/.*://'; }
alive() { curl -fsS "http://127.0.0.1:$(port 50080)/healthz"; }
metrics() { curl -fsS "http://127.0.0.1:$(port 50080)/metrics" | grep -q '^carbond_'; }
health() { "$grpcurl" -plaintext -max-time 5 "127.0.0.1:$(port 50051)" grpc.health.v1.Health/Check | grep -q '"SERVING"'; }
gone() { [ "$(podman inspect -f '{{.State.Status}}' "$name")" = exited ]; }
start() {
    podman_run -d --name "$name" --read-only --read-only-tmpfs=false --cap-drop ALL \
        --security-opt no-new-privileges -v "$name:/var/lib/carbond" \
        -p 127.0.0.1::50051 -p 127.0.0.1::50080 "$image" >/dev/null
    until_ok 20 "published ports answer: /healthz" alive
    until_ok 20 "gRPC health says SERVING" health
    want "/metrics answers" metrics
    want "health check is healthy" podman healthcheck run "$name"
}
stop() {
    begin=$(date +%s)
    podman kill --signal TERM "$name" >/dev/null
    until_ok 12 "SIGTERM stops it" gone
    took=$(($(date +%s) - begin))
    [ "$took" -le 10 ] || fail "stopped only after $took s"
    code=$(podman inspect -f '{{.State.ExitCode}}' "$name")
    [ "$code" = 0 ] || fail "exit code $code after SIGTERM"
    say "ok: ... within $took s, with exit 0"
    podman rm "$name" >/dev/null
}

want "podman load" podman load -q -i "$dist/carbond_${tag}_linux_$arch.docker.tar"
want "user is a number" [ "$(field '{{.User}}')" = 65532:65532 ]
want "labels are there" sh -c "podman image inspect --format '{{.Labels}}' $image | grep -q 'org.opencontainers.image.version:$tag'"
want "health check is in the image" sh -c "podman image inspect $image | grep -q healthcheck"
want "version runs" podman_run --rm --network none "$image" version

say "-- first run: read-only root, no capabilities, non-root"
start
want "it runs as 65532" sh -c "[ \$(ps -o uid= -p \$(podman inspect -f '{{.State.Pid}}' $name)) = 65532 ]"
want "it has no capabilities" sh -c "grep -q '^CapEff:.*0000000000000000' /proc/\$(podman inspect -f '{{.State.Pid}}' $name)/status"
volume=$(podman volume inspect -f '{{.Mountpoint}}' "$name")
before=$(find "$volume" -type f | sort | head -n 1)
[ -n "$before" ] || fail "nothing in the volume"
stop

say "-- second run, the same volume"
start
want "the data of the first run is used" test -e "$before"
want "... and nobody else's files are there" [ -z "$(find "$volume" ! -user 65532)" ]
stop

say "-- other ways to run it"
want "plain run by name alone, no flag but the network" sh -c "podman --runtime runc run -d --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 --name $name carbond"
until_ok 20 "... healthy, on a volume of its own" podman healthcheck run "$name"
stop
oci=$(podman pull -q "oci-archive:$dist/carbond_${tag}_oci.tar:$tag") || fail "the OCI index cannot be pulled"
say "ok: the OCI index has this platform"
want "... with the health check" sh -c "podman image inspect $oci | grep -q healthcheck"
want "... and the same content" [ "$(podman image inspect -f '{{.RootFS.Layers}}' "$oci")" = "$(field '{{.RootFS.Layers}}')" ]

say "image: all steps passed"
