#!/bin/sh
# Runs `carbond bench` beside a throw-away Postgres of its own, and nothing else:
# leave the machine alone meanwhile. Arguments go to `carbond bench`.
set -eu
cd "$(dirname "$0")/.."
packaging/need-postgres.sh
make -s build
bin=
for d in $(echo "$PATH" | tr ':' ' ') /usr/lib/postgresql/*/bin; do
	[ -x "$d/initdb" ] && [ -x "$d/postgres" ] && bin=$(dirname "$(readlink -f "$d/initdb")")
done
run=$(mktemp -d)
port=${PGPORT:-54331}
as=
mkdir "$run/pg"
if [ "$(id -u)" = 0 ]; then
	chmod 755 "$run"
	chown postgres "$run/pg"
	as="runuser -u postgres --"
fi
(cd / && $as "$bin/initdb" -D "$run/pg" -U postgres -A trust -E UTF8 --locale=C >/dev/null)
(cd / && exec $as "$bin/postgres" -D "$run/pg" -p "$port" -k "$run/pg" -c listen_addresses=127.0.0.1 \
	-c wal_level=logical -c max_wal_size=4GB -c shared_buffers=256MB) >"$run/postgres.log" 2>&1 &
pg=$!
stop() {
	kill -INT "$pg" 2>/dev/null || true
	wait "$pg" 2>/dev/null || true
	rm -rf "$run"
}
trap stop EXIT
trap 'exit 130' INT TERM
until "$bin/pg_isready" -q -h 127.0.0.1 -p "$port"; do
	kill -0 "$pg" 2>/dev/null || { cat "$run/postgres.log" >&2; exit 1; }
	sleep 0.1
done
./bin/carbond bench --postgres-url "postgres://postgres@127.0.0.1:$port/postgres" --dir "$run" "$@"
