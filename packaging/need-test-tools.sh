#!/bin/sh
# Makes sure that the programs of other people that the tests run are here: clients
# of the API and of Kafka, a proxy, a pooler. Installs Debian's packages when run as
# root; elsewhere it names them, and the tests that need them are skipped.
set -eu
want=""
need() { # PACKAGE COMMAND...
	package=$1
	shift
	"$@" >/dev/null 2>&1 || want="$want $package"
}
need protobuf-compiler protoc --version
need python3-grpcio /usr/bin/python3 -c 'import grpc'
need python3-protobuf /usr/bin/python3 -c 'import google.protobuf'
need python3-confluent-kafka /usr/bin/python3 -c 'import confluent_kafka'
need python3-kafka /usr/bin/python3 -c 'import kafka'
need kcat kcat -V
need nginx nginx -v
need pgbouncer pgbouncer --version
need prometheus promtool --version
[ -n "$want" ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
	echo "installing for the tests:$want" >&2
	# shellcheck disable=SC2086 # a list
	exec "$(dirname "$0")/apt-install.sh" $want
fi
echo "tests that need these Debian packages are skipped:$want" >&2
