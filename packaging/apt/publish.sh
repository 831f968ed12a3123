#!/bin/sh
# publish.sh REPOSITORY KEY FILE.deb...: puts packages into a signed repository
# that any web server can serve. apt checks the signature of a repository and
# ignores one inside a .deb, which is why there is none in the packages.
#
# Users then need the exported key and one line:
#   deb [signed-by=/usr/share/keyrings/carbond.asc] https://HOST/ stable main
set -eu
here=$(cd "$(dirname "$0")" && pwd)
repository=$1
key=$2
shift 2

command -v reprepro >/dev/null || {
    echo "reprepro is not installed: apt-get install reprepro" >&2
    exit 1
}
mkdir -p "$repository/conf"
sed "s/@KEY@/$key/" "$here/distributions" >"$repository/conf/distributions"
for deb; do
    reprepro --basedir "$repository" --section net --priority optional includedeb stable "$deb"
done
gpg --batch --yes --armor --output "$repository/carbond.asc" --export "$key"
reprepro --basedir "$repository" list stable
