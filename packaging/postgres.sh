# Shell functions for a throw-away Postgres, sourced by run-postgres.sh and
# bench.sh. Postgres refuses to run as root, so root lends it to postgres.

pg_bin=
for d in $(echo "$PATH" | tr ':' ' ') /usr/lib/postgresql/*/bin; do
	[ -x "$d/initdb" ] && [ -x "$d/postgres" ] && pg_bin=$(dirname "$(readlink -f "$d/initdb")")
done

# pg_as COMMAND...: as the user that may run Postgres, from a folder it can read.
pg_as() {
	(
		cd /
		[ "$(id -u)" = 0 ] && exec runuser -u postgres -- "$@"
		exec "$@"
	)
}

# pg_folder FOLDER: that folder, or one for its name in /var/tmp when the user that may
# run Postgres cannot get there, as below a private folder of root.
pg_folder() {
	mkdir -p "$1"
	if pg_as test -x "$(dirname "$1")"; then
		echo "$1"
		return
	fi
	set -- "$1" "/var/tmp/carbond-postgres-$(id -u)-$(echo "$1" | cksum | cut -d ' ' -f 1)"
	if [ -L "$2" ] || { [ -e "$2" ] && [ "$(stat -c %U "$2")" != postgres ]; }; then
		echo "Postgres cannot reach $1, and $2 belongs to somebody else: use a folder that user postgres can enter" >&2
		return 1
	fi
	echo "Postgres cannot reach $1; its data go to $2" >&2
	echo "$2"
}

# pg_start FOLDER USER PORT [OPTION...]: initialise at need, start, wait.
pg_start() {
	pg_dir=$1 pg_user=$2 pg_port=$3
	shift 3
	mkdir -p "$pg_dir"
	[ "$(id -u)" = 0 ] && chown -R postgres "$pg_dir"
	chmod 700 "$pg_dir"
	[ -s "$pg_dir/PG_VERSION" ] || pg_as "$pg_bin/initdb" -D "$pg_dir" -U "$pg_user" -A trust -E UTF8 --locale=C >/dev/null
	# -w waits until it takes connections; the log says why when it does not.
	# In a session of its own, so that Ctrl-C does not end it before carbond.
	pg_as setsid -w "$pg_bin/pg_ctl" -D "$pg_dir" -l "$pg_dir/server.log" -w -s -o \
		"-p $pg_port -k '$pg_dir' -c listen_addresses=127.0.0.1 -c wal_level=logical $*" start || {
		cat "$pg_dir/server.log" >&2
		return 1
	}
}

# pg_stop: stop what pg_start started.
pg_stop() { [ ! -s "$pg_dir/postmaster.pid" ] || pg_as "$pg_bin/pg_ctl" -D "$pg_dir" -m fast -w -s stop || true; }
