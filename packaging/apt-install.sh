#!/bin/sh
# apt-install.sh PACKAGE...: installs Debian packages without their
# recommendations, as root. Mirrors and networks fail now and then, and another
# apt may hold the lock: tries a few times. Says something only when it must.
set -eu
umask 022
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
tries=5
n=1
until apt-get update -qq -o DPkg::Lock::Timeout=300 >"$log" 2>&1 &&
	apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=300 "$@" >"$log" 2>&1; do
	tail -n 20 "$log" >&2
	[ "$n" -lt "$tries" ] || {
		echo "apt-get failed $tries times; the packages are: $*" >&2
		exit 1
	}
	echo "apt-get failed, again in $((n * 10)) s" >&2
	sleep $((n * 10))
	n=$((n + 1))
done
