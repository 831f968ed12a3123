#!/bin/sh
# apt-repo.sh DEB...: publishes the packages with a key made for the test, and is
# apt on another machine: it offers the package to those who have the key, and to
# nobody when the key is another one or a byte was changed. No root; all of it is
# in a temporary folder.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"

need reprepro gpg apt-get
work=$(mktemp -d)
finish() {
    code=$?
    gpgconf --kill gpg-agent >/dev/null 2>&1 || true
    rm -rf "$work"
    exit $code
}
trap finish EXIT
trap 'exit 130' INT TERM
export GNUPGHOME="$work/gnupg"
mkdir -m 700 "$GNUPGHOME"

# new_key NAME: prints the fingerprint.
new_key() {
    gpg --batch --quiet --passphrase '' --quick-generate-key "$1" rsa2048 sign never 2>"$work/gpg.log"
    gpg --batch --quiet --no-auto-check-trustdb --with-colons --list-keys "$1" | awk -F: '$1 == "fpr" { print $10; exit }'
}

# client KEY: forgets everything and has this one repository, believed by KEY.
client() {
    rm -rf "$work/apt"
    mkdir -p "$work/apt/etc/apt"
    echo "deb [signed-by=$1] file:$work/repository stable main" >"$work/apt/etc/apt/sources.list"
}
update() { apt_at "$work/apt" update; }
refused() { ! update; }
# Only the packages of the repository are known, so nothing that carbond needs
# can be had; what it would fetch is asked for alone.
fetch() { (cd "$work/apt" && apt_at "$work/apt" download carbond); }

key=$(new_key carbond-test)
other=$(new_key somebody-else)
want "the packages are published" "$here/../apt/publish.sh" "$work/repository" "$key" "$@"
gpg --batch --quiet --armor --output "$work/other.asc" --export "$other"

client "$work/repository/carbond.asc"
want "apt with the key takes the lists" update
want "... and the package" fetch
want "... which is the one that was published" cmp "$work"/apt/carbond_*.deb "$work"/repository/pool/main/c/carbond/carbond_*_"$(dpkg --print-architecture)".deb
client "$work/other.asc"
want "apt with another key refuses them" refused
printf 'Suite: other\n' >>"$work/repository/dists/stable/Release"
sed -i 's/^Label: carbond$/Label: carbonD/' "$work/repository/dists/stable/InRelease"
client "$work/repository/carbond.asc"
want "... and so does everybody when a byte was changed" refused
say "apt repository: all steps passed"
