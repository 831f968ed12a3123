#!/bin/sh
# Makes sure that PostgreSQL's server programs are here: the tests start their
# own throw-away servers. Installs Debian's package when run as root.
set -eu
if [ -n "${CARBOND_TEST_PGBIN:-}" ] && [ -x "$CARBOND_TEST_PGBIN/initdb" ]; then
	exit 0
fi
for d in $(echo "$PATH" | tr ':' ' ') /usr/lib/postgresql/*/bin; do
	if [ -x "$d/initdb" ] && [ -x "$d/postgres" ]; then
		exit 0
	fi
done
if [ -n "${CARBOND_TEST_DSN:-}" ]; then
	exit 0
fi
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
	echo "PostgreSQL is missing: installing Debian's package" >&2
	# No cluster of its own: the tests make theirs in temporary folders.
	umask 022
	mkdir -p /etc/postgresql-common
	[ -e /etc/postgresql-common/createcluster.conf ] ||
		echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
	exec "$(dirname "$0")/apt-install.sh" postgresql postgresql-contrib
fi
echo "PostgreSQL's server programs (initdb, postgres) are missing." >&2
echo "Install them (Debian: apt-get install postgresql), or set CARBOND_TEST_DSN to a server with wal_level=logical." >&2
exit 1
