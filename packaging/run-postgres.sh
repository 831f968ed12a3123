#!/bin/sh
# Starts a throw-away Postgres under ./.run with logical replication on, and a
# carbond that tails it. Ctrl-C stops both; the data stay in ./.run.
set -eu
cd "$(dirname "$0")/.."
packaging/need-postgres.sh
run=$PWD/.run
port=${PGPORT:-54329}
bin=
for d in $(echo "$PATH" | tr ':' ' ') /usr/lib/postgresql/*/bin; do
	[ -x "$d/initdb" ] && [ -x "$d/postgres" ] && bin=$(dirname "$(readlink -f "$d/initdb")")
done
mkdir -p "$run"
# Postgres refuses to run as root.
as=
if [ "$(id -u)" = 0 ]; then
	mkdir -p "$run/pg"
	chown -R postgres "$run/pg"
	as="runuser -u postgres --"
else
	mkdir -p "$run/pg"
fi
chmod 700 "$run/pg"
if [ ! -s "$run/pg/PG_VERSION" ]; then
	(cd / && $as "$bin/initdb" -D "$run/pg" -U carbond -A trust -E UTF8 --locale=C >/dev/null)
fi
(cd / && exec $as "$bin/postgres" -D "$run/pg" -p "$port" -k "$run/pg" -c listen_addresses=127.0.0.1 -c wal_level=logical) \
	>"$run/postgres.log" 2>&1 &
pg=$!
stop() { kill -INT "$pg" 2>/dev/null || true; wait "$pg" 2>/dev/null || true; }
trap stop EXIT
trap 'exit 130' INT TERM
n=0
until "$bin/pg_isready" -q -h 127.0.0.1 -p "$port"; do
	n=$((n + 1))
	if [ "$n" -gt 100 ] || ! kill -0 "$pg" 2>/dev/null; then
		echo "Postgres did not start; see $run/postgres.log" >&2
		exit 1
	fi
	sleep 0.1
done
cat <<TEXT
Postgres listens on 127.0.0.1:$port. In another terminal:

  psql -h 127.0.0.1 -p $port -U carbond postgres \\
    -c "INSERT INTO verra (project_id, project_name, country, supply) VALUES ('VCS-1', 'Hello', 'Brazil', 42)"
  grpcurl -plaintext -d '{"country":"Brazil"}' 127.0.0.1:50051 carbon.CarbonService/GetProjects

TEXT
CARBOND_POSTGRES_URL="postgres://carbond@127.0.0.1:$port/postgres" \
	CARBOND_DATA_DIR="$run/data" CARBOND_FEEDS_ENABLED="${CARBOND_FEEDS_ENABLED:-none}" ./bin/carbond serve
