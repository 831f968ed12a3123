#!/bin/sh
# mirror.sh: prints the Debian mirror that this machine has its own packages
# from; DEBIAN_MIRROR is for machines that have none.
set -eu
mirror=${DEBIAN_MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' | head -n 1)}
[ -n "$mirror" ] || {
    echo "no Debian mirror known: run apt-get update, or set DEBIAN_MIRROR" >&2
    exit 1
}
echo "$mirror"
