#!/bin/sh
# Starts a throw-away Postgres under ./.run with logical replication on, and a
# carbond that tails it. Ctrl-C stops both; the data stay in ./.run.
set -eu
cd "$(dirname "$0")/.."
packaging/need-postgres.sh
. packaging/postgres.sh
port=${PGPORT:-54329}
mkdir -p .run
pg_dir=$(pg_folder "$PWD/.run/pg")
trap pg_stop EXIT
trap 'exit 0' INT TERM # carbond has said that it stops
pg_start "$pg_dir" carbond "$port"
grpc=${CARBOND_GRPC_LISTEN:-127.0.0.1:50051} http=${CARBOND_HTTP_LISTEN:-127.0.0.1:50080}
kafka=9092
while bash -c "exec 3<>/dev/tcp/127.0.0.1/$kafka" 2>/dev/null; do kafka=$((kafka + 1)); done # the next that nobody has
kafka=${CARBOND_KAFKA_LISTEN:-127.0.0.1:$kafka}
cat <<TEXT
Postgres listens on 127.0.0.1:$port; the console page is http://$http/
Ctrl-C stops both. When carbond says "serving", in another terminal:

  psql -h 127.0.0.1 -p $port -U carbond postgres \\
    -c "INSERT INTO verra (project_id, project_name, country, supply) VALUES ('VCS-1', 'Hello', 'Brazil', 42)"
  grpcurl -plaintext -d '{"country":"Brazil"}' $grpc carbon.CarbonService/GetProjects
  kcat -b $kafka -C -t carbon.public.verra -o beginning -e

TEXT
CARBOND_KAFKA_LISTEN="$kafka" CARBOND_POSTGRES_URL="postgres://carbond@127.0.0.1:$port/postgres" \
	CARBOND_DATA_DIR="$PWD/.run/data" CARBOND_FEEDS_ENABLED="${CARBOND_FEEDS_ENABLED:-none}" ./bin/carbond serve
