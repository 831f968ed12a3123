#!/bin/sh
# Runs `carbond bench` beside a throw-away Postgres of its own, and nothing else:
# leave the machine alone meanwhile. Arguments go to `carbond bench`.
set -eu
cd "$(dirname "$0")/.."
packaging/need-postgres.sh
. packaging/postgres.sh
make -s build
run=$(mktemp -d)
chmod 755 "$run"
port=${PGPORT:-54331}
pg_start "$run/pg" postgres "$port" -c max_wal_size=4GB -c shared_buffers=256MB
trap 'pg_stop; rm -rf "$run"' EXIT
trap 'exit 130' INT TERM
./bin/carbond bench --postgres-url "postgres://postgres@127.0.0.1:$port/postgres" --dir "$run" "$@"

if [ $# -eq 0 ]; then
	echo
	echo "Watchers and consumers beside 1,000 changes a second:"
	go test ./cmd/carbond/internal/daemon -run '^$' -bench Readers -benchtime 1x | grep '^Benchmark'
	echo
	echo "Kafka's protocol: from the beginning beside the segments alone, and 20 clients at the tail:"
	go test ./rpc/kafka -run '^$' -bench . -benchtime 3x | grep '^Benchmark'
	echo
	echo "HTTP: lists beside net/http with the same bytes and answers of 304 (ratio of processor time), and 1,000 event sources:"
	go test ./rpc/web -run '^$' -bench 'BesideNetHTTP|EventSources' -benchtime 50x | grep '^Benchmark'
	echo
	echo "Totals of a change, beside 1,000 and 1,000,000 projects:"
	go test ./store/internal/view -run '^$' -bench Totals | grep '^Benchmark'
fi
