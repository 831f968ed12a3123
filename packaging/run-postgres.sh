#!/bin/sh
# Starts a throw-away Postgres under ./.run with logical replication on, and a
# carbond that tails it. Ctrl-C stops both; the data stay in ./.run.
set -eu
cd "$(dirname "$0")/.."
packaging/need-postgres.sh
. packaging/postgres.sh
port=${PGPORT:-54329}
mkdir -p .run
pg_start "$PWD/.run/pg" carbond "$port"
trap pg_stop EXIT
trap 'exit 130' INT TERM
cat <<TEXT
Postgres listens on 127.0.0.1:$port. In another terminal:

  psql -h 127.0.0.1 -p $port -U carbond postgres \\
    -c "INSERT INTO verra (project_id, project_name, country, supply) VALUES ('VCS-1', 'Hello', 'Brazil', 42)"
  grpcurl -plaintext -d '{"country":"Brazil"}' 127.0.0.1:50051 carbon.CarbonService/GetProjects

TEXT
CARBOND_POSTGRES_URL="postgres://carbond@127.0.0.1:$port/postgres" \
	CARBOND_DATA_DIR="$PWD/.run/data" CARBOND_FEEDS_ENABLED="${CARBOND_FEEDS_ENABLED:-none}" ./bin/carbond serve
