#!/bin/sh
# systemd.sh DEB NEWER_DEB TOOLS [SUITE]: the life of the package on a Debian
# (bookworm unless told) that systemd has booted, in a podman container. Needs root. Nothing outside
# the container is touched: its network is its own loopback, its file system an
# overlay that is thrown away.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"

deb=$1
newer=$2
tools=$3
suite=${4:-bookworm}
root=$(realpath -m "dist/cache/$suite")
name=carbond-systemd-test-$$

need podman runc debootstrap nsenter ss curl
[ "$(id -u)" -eq 0 ] || fail "needs root, to boot a system"
"$here/root.sh" "$root" "$suite"

boxed() { podman exec "$name" "$@"; }
sql() { boxed runuser -u postgres -- psql -XAtq -v ON_ERROR_STOP=1 -d "${db:-carbon}" -c "$1"; }
# From outside: the host's curl and grpcurl in the network of the container.
outside() { nsenter -t "$box_pid" -n "$@"; }
grpc() { outside "$tools/grpcurl" -plaintext -max-time 5 "$@"; }
main_pid() { boxed systemctl show -P MainPID carbond; }
active() { [ "$(boxed systemctl is-active carbond)" = active ]; }
serving() { grpc 127.0.0.1:50051 grpc.health.v1.Health/Check | grep -q '"SERVING"'; }
metrics() { outside curl -fsS http://127.0.0.1:50080/metrics | grep -q '^carbond_build_info\|^carbond_'; }
projects() { grpc "$@" 127.0.0.1:50051 carbon.CarbonService/GetProjects; }
has_project() { projects | grep -q "\"$1\""; }
logged() { boxed journalctl -u carbond --no-pager -o cat | grep -q "$1"; }
# The newest offset of the log, as a client sees it.
offset() { projects -v | sed -n 's/^carbond-offset: *//p'; }
install() { boxed sh -c 'cd /root && apt-get install -y -o Dpkg::Options::=--force-confold ./'"$1" >"$work/apt.log" 2>&1; }
restarted() { new=$(main_pid) && [ "$new" != 0 ] && [ "$new" != "$1" ] && active; }

work=$(mktemp -d)
finish() {
    code=$?
    if [ $code -ne 0 ]; then
        cat "$work/apt.log" 2>/dev/null | tail -n 20 || true
        boxed systemctl status --no-pager carbond 2>/dev/null || true
        boxed journalctl -u carbond --no-pager -n 40 2>/dev/null || true
    fi
    podman rm -f -t 2 "$name" >/dev/null 2>&1 || true
    rm -rf "$work"
    exit $code
}
trap finish EXIT
trap 'exit 130' INT TERM

boot() {
    podman_run -d --name "$name" --systemd=always --cap-add SYS_ADMIN --env SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1 --network none \
        --rootfs "$root:O" /sbin/init >/dev/null
    until_ok 60 "systemd is PID 1 and has booted" sh -c \
        "podman exec $name systemctl is-system-running --wait | grep -q -e running -e degraded"
    box_pid=$(podman inspect -f '{{.State.Pid}}' "$name")
    podman cp "$deb" "$name:/root/old.deb"
    podman cp "$newer" "$name:/root/new.deb"
}

fresh_install() {
    want "apt install on a machine without any configuration" install old.deb
    until_ok 20 "the service is active" active
    until_ok 20 "gRPC health says SERVING" serving
    want "/metrics answers" metrics
    want "reflection lists the service" sh -c "nsenter -t $box_pid -n $tools/grpcurl -plaintext 127.0.0.1:50051 list | grep -qx carbon.CarbonService"
    want "carbond healthcheck agrees" boxed carbond healthcheck
    want "it listens on loopback only" sh -c \
        "! nsenter -t $box_pid -n ss -Hltn | grep -e ':5005[0-9]' -e ':5008[0-9]' | grep -v 127.0.0.1"
    want "it runs as carbond" sh -c "[ \$(podman exec $name ps -o user= -p $(main_pid)) = carbond ]"
    want "the configuration is not for everybody" sh -c \
        "[ \"\$(podman exec $name stat -c '%a %U %G' /etc/carbond/carbond.yaml)\" = '640 root carbond' ]"
    want "the state folder is 0750" sh -c \
        "[ \"\$(podman exec $name stat -c '%a %U' /var/lib/carbond)\" = '750 carbond' ]"
    want "systemd has a status text" sh -c "podman exec $name systemctl show -P StatusText carbond | grep -q ."
    want "manual pages are there" boxed sh -c 'man -w 8 carbond && man -w 5 carbond.yaml'
    want "live exposure is within the limit" boxed systemd-analyze security --threshold=15 carbond.service
}

configuration() {
    before=$(main_pid)
    want "reload of a good configuration" boxed systemctl reload carbond
    want "... keeps the process" [ "$(main_pid)" = "$before" ]
    boxed sh -c 'cp -p /etc/carbond/carbond.yaml /root/keep; echo "no_such_key: 1" >> /etc/carbond/carbond.yaml'
    want "reload of a bad configuration is refused" sh -c "! podman exec $name systemctl reload carbond"
    want "... and the process keeps serving" serving
    want "... the same one" [ "$(main_pid)" = "$before" ]
    boxed systemctl restart carbond 2>/dev/null || true
    want "a start with a bad configuration ends in 78" sh -c \
        "[ \"\$(podman exec $name systemctl show -P ExecMainStatus carbond)\" = 78 ]"
    sleep 3
    want "... and is not tried again" sh -c "[ \"\$(podman exec $name systemctl is-active carbond)\" = failed ]"
    want "... and the log names the key" logged no_such_key
    want "reinstallation with that file does not fail" boxed sh -c 'cd /root && dpkg -i --force-confold old.deb'
    boxed sh -c 'cat /root/keep > /etc/carbond/carbond.yaml; systemctl reset-failed carbond; systemctl start carbond'
    until_ok 20 "with the old file it serves again" serving
}

# What passes by itself must not need an administrator.
troubles() {
    boxed systemctl stop carbond
    boxed systemd-run --quiet --unit port-taken perl -MIO::Socket::INET -e \
        '@held = (IO::Socket::INET->new(LocalAddr => "127.0.0.1:50051", Listen => 5, ReuseAddr => 1)); sleep 300'
    until_ok 10 "somebody else has the port of gRPC" sh -c "nsenter -t $box_pid -n ss -Hltn | grep -q 127.0.0.1:50051"
    boxed systemctl start --no-block carbond
    until_ok 60 "... six starts fail" sh -c "[ \$(podman exec $name systemctl show -P NRestarts carbond) -ge 6 ]"
    boxed systemctl stop port-taken
    until_ok 30 "... and when the port is free it serves" serving

    boxed sh -c 'install -d -m 0750 -o carbond -g carbond /srv/carbond/data; mkdir -p /etc/systemd/system/carbond.service.d
        printf "[Service]\nReadWritePaths=/srv/carbond/data\n" > /etc/systemd/system/carbond.service.d/elsewhere.conf
        cp -p /etc/carbond/carbond.yaml /root/keep; echo "data_dir: /srv/carbond/data" >> /etc/carbond/carbond.yaml
        systemctl daemon-reload; systemctl restart carbond'
    until_ok 30 "data_dir of the configuration file counts" serving
    want "... the data is there" boxed test -d /srv/carbond/data/log
    boxed sh -c 'cat /root/keep > /etc/carbond/carbond.yaml; rm /etc/systemd/system/carbond.service.d/elsewhere.conf
        systemctl daemon-reload; systemctl restart carbond'
    until_ok 30 "... and without it the state folder" serving
}

postgres_mode() {
    boxed sh -c 'for c in /etc/postgresql/*/main/postgresql.conf; do echo "wal_level = logical" >> $c; done; systemctl restart "postgresql@*"'
    db=postgres
    until_ok 30 "Postgres runs with wal_level logical" sql 'select 1'
    boxed runuser -u postgres -- createuser --replication carbond
    boxed runuser -u postgres -- createdb --owner carbond carbon
    db=carbon
    boxed sh -c 'mkdir -p /etc/systemd/system/carbond.service.d
        cp /usr/share/doc/carbond/examples/postgres-local.conf /etc/systemd/system/carbond.service.d/
        rm -rf /var/lib/carbond/*
        systemctl daemon-reload; systemctl restart carbond'
    until_ok 30 "Postgres mode by the drop-in example, peer authentication" serving
    until_ok 10 "a replication slot is in use" sh -c \
        "podman exec $name runuser -u postgres -- psql -XAtc \"select active from pg_replication_slots where slot_name='carbond'\" | grep -qx t"
    sql "insert into verra(project_id, project_name, registry_status, country, vintage, supply, updated_at)
         values ('VCS-1', 'Forest one', 'ACTIVE', 'Brazil', 2020, 1000, now())"
    until_ok 10 "a row written in Postgres is served" has_project VCS-1
    before=$(main_pid)
    boxed systemctl stop postgresql
    want "Postgres stopped: carbond goes on serving" has_project VCS-1
    want "... the same process" [ "$(main_pid)" = "$before" ]
    boxed systemctl start postgresql
    sql "insert into verra(project_id, project_name, country, updated_at) values ('VCS-0', 'After a restart of Postgres', 'Chile', now())"
    until_ok 40 "... and follows when Postgres is back" has_project VCS-0
    sql "delete from verra where project_id = 'VCS-0'"
}

view_files() {
    boxed sh -c 'install -d -m 2750 -o carbond -g games /srv/carbond/views
        cp /usr/share/doc/carbond/examples/view-files.conf /etc/systemd/system/carbond.service.d/
        systemctl daemon-reload; systemctl restart carbond'
    until_ok 30 "view files outside the state folder by the drop-in example" serving
    until_ok 10 "... have the row" boxed grep -q VCS-1 /srv/carbond/views/projects.jsonl
    want "... can be read by the group of the folder" boxed runuser -u games -- grep -q VCS-1 /srv/carbond/views/projects.jsonl
    want "... but the data cannot" sh -c "! podman exec $name runuser -u games -- ls /var/lib/carbond"
    want "... and by nobody else" sh -c "! podman exec $name runuser -u nobody -- cat /srv/carbond/views/projects.jsonl"
}

crashes() {
    before=$(main_pid)
    sql "insert into verra(project_id, project_name, country, updated_at) select 'VCS-K' || i, 'k', 'Peru', now() from generate_series(1, 500) i"
    boxed kill -9 "$before"
    sql "insert into verra(project_id, project_name, country, updated_at) values ('VCS-2', 'Written while down', 'Chile', now())"
    until_ok 20 "kill -9: systemd starts it again" restarted "$before"
    until_ok 20 "... it serves" serving
    until_ok 10 "... with the row written while it was down" has_project VCS-2
    want "... and nothing lost or doubled" sh -c \
        "[ \$(nsenter -t $box_pid -n $tools/grpcurl -plaintext -max-msg-sz 33554432 127.0.0.1:50051 carbon.CarbonService/GetProjects | grep -c projectId) -eq 502 ]"

    ping=$(boxed systemctl show -P WatchdogTimestampMonotonic carbond)
    until_ok 25 "the watchdog is fed" sh -c \
        "[ \$(podman exec $name systemctl show -P WatchdogTimestampMonotonic carbond) -gt $ping ]"
    before=$(main_pid)
    boxed kill -STOP "$before"
    until_ok 60 "SIGSTOP: the watchdog restarts it" restarted "$before"
    want "... by the watchdog" sh -c "podman exec $name journalctl -u carbond --no-pager | grep -q 'Watchdog timeout'"
    until_ok 20 "... it serves" has_project VCS-2
}

upgrade() {
    mark=$(offset)
    [ -n "$mark" ] || fail "replies carry no carbond-offset"
    before=$(main_pid)
    boxed sh -c 'cp -p /etc/carbond/carbond.yaml /root/keep; echo "no_such_key: 1" >> /etc/carbond/carbond.yaml'
    want "an upgrade over a configuration that the new version refuses" install new.deb
    want "... says so" grep -q 'refuses the configuration' "$work/apt.log"
    want "... and the old process goes on serving" has_project VCS-1
    want "... the same one" [ "$(main_pid)" = "$before" ]
    boxed sh -c 'cat /root/keep > /etc/carbond/carbond.yaml; cd /root && dpkg -i old.deb' >"$work/apt.log" 2>&1
    until_ok 20 "... back to the old version" restarted "$before"
    until_ok 20 "... which serves" serving
    before=$(main_pid)
    boxed sh -c 'echo "# a local change" >> /etc/carbond/carbond.yaml'
    want "apt upgrades to a higher version" install new.deb
    until_ok 20 "... which restarts the service" restarted "$before"
    until_ok 20 "... that serves" has_project VCS-1
    now=$(offset)
    [ "$now" -ge "$mark" ] || fail "offset went back from $mark to $now"
    say "ok: ... offset $mark before, $now after"
    want "... with the administrator's file kept" boxed grep -q 'a local change' /etc/carbond/carbond.yaml
    want "... the new program runs" sh -c "podman exec $name carbond version | grep -qF '$(dpkg-deb -f "$newer" Version | sed 's/-1$//')'"
    sql "insert into verra(project_id, project_name, country, updated_at) values ('VCS-3', 'After the upgrade', 'Chile', now())"
    until_ok 10 "... and follows Postgres" has_project VCS-3
}

removal() {
    boxed systemctl stop carbond
    want "carbond teardown drops the slot" boxed runuser -u carbond -- env \
        'CARBOND_POSTGRES_URL=postgres:///carbon?host=/run/postgresql' carbond teardown --yes
    want "... no slot is left" [ -z "$(sql 'select slot_name from pg_replication_slots')" ]
    boxed systemctl start carbond
    want "apt remove" boxed apt-get remove -y carbond
    want "... stops the service" sh -c "! podman exec $name pgrep -x carbond"
    want "... keeps configuration and data" boxed test -d /var/lib/carbond -a -f /etc/carbond/carbond.yaml
    boxed sh -c 'mkdir -p /root/other && mv /var/lib/carbond/* /root/other/ && mount -t tmpfs none /var/lib/carbond && cp -r /root/other/. /var/lib/carbond/'
    boxed apt-get purge -y carbond >"$work/purge.log" 2>&1 || fail "apt purge: $(cat "$work/purge.log")"
    say "ok: apt purge"
    want "... empties the state folder, which is a mount point" sh -c "[ -z \"\$(podman exec $name ls -A /var/lib/carbond)\" ]"
    want "... and says so" grep -q 'mount point' "$work/purge.log"
    boxed sh -c 'umount /var/lib/carbond && rmdir /var/lib/carbond'
    want "... and the configuration" boxed test ! -e /etc/carbond/carbond.yaml
    want "... keeps the account" boxed getent passwd carbond
    want "... tells about the slot" grep -q pg_drop_replication_slot "$work/purge.log"
    want "... leaves no unit behind" sh -c "! podman exec $name systemctl cat carbond.service"
    want "reinstallation works" install old.deb
    until_ok 20 "... and serves" active
}

boot
fresh_install
configuration
troubles
postgres_mode
view_files
crashes
upgrade
removal
say "systemd: all steps passed"
