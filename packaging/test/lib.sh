# Shared by the tests that boot or run things; sourced, not run.
# shellcheck shell=sh

# The limits that a container gets are given because some hosts refuse the
# defaults; runc because crun does not start on hosts with a hybrid cgroup v1.
podman_run() {
    podman --runtime runc run --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 "$@"
}

started=$(date +%s)

say() { printf '%3ds  %s\n' "$(($(date +%s) - started))" "$*"; }

fail() {
    say "FAILED: $*" >&2
    exit 1
}

# until_ok SECONDS WHAT COMMAND...: polls, and fails when the time is over.
until_ok() {
    limit=$(($(date +%s) + $1))
    what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        [ "$(date +%s)" -lt "$limit" ] || {
            "$@" || true
            fail "$what"
        }
        sleep 0.2
    done
    say "ok: $what"
}

# want WHAT COMMAND...: once.
want() {
    what=$1
    shift
    out=$("$@" 2>&1) || {
        echo "$out" >&2
        fail "$what"
    }
    say "ok: $what"
}

need() {
    for tool; do
        command -v "$tool" >/dev/null || fail "$tool is not installed"
    done
}

# apt_at FOLDER ARGUMENT...: an apt-get that has its sources, lists and packages in
# FOLDER and nothing of this machine's but how it reaches mirrors; it needs no
# root. The sources are FOLDER/etc/apt/sources.list.
apt_at() {
    at=$(realpath "$1")
    shift
    mkdir -p "$at/etc/apt/apt.conf.d" "$at/etc/apt/preferences.d" "$at/var/lib/apt/lists/partial" "$at/var/cache/apt/archives/partial" "$at/var/lib/dpkg" "$at/var/log/apt"
    : >"$at/var/lib/dpkg/status" # nothing is installed: everything is missing
    apt-config dump | grep '^Acquire::' >"$at/apt.conf" || true
    cat >>"$at/apt.conf" <<CONF
Dir "$at";
APT::Sandbox::User "$(id -un)";
APT::Install-Recommends "false";
APT::Update::Error-Mode "any";
Acquire::Retries "5";
Acquire::http::Timeout "30";
Acquire::Languages "none";
CONF
    APT_CONFIG="$at/apt.conf" apt-get -qq "$@"
}
