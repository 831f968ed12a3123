#!/bin/sh
# Prints the version of this checkout: the tag, else the newest version in
# CHANGELOG.md, with the commits since then. It sorts as Debian sorts versions:
# 1.2.3 < 1.2.3+4.gabcdef0, and 0.1.0~12.gabcdef0 < 0.1.0.
set -eu
cd "$(dirname "$0")/.."

if described=$(git describe --tags --match 'v[0-9]*' 2>/dev/null); then
    echo "$described" | sed -E 's/^v//; s/-([0-9]+)-(g[0-9a-f]+)$/+\1.\2/'
    exit 0
fi
version=$(sed -nE 's/^##+ \[?v?([0-9]+\.[0-9]+\.[0-9]+)\]?.*/\1/p' CHANGELOG.md 2>/dev/null | head -n 1)
count=$(git rev-list --count HEAD 2>/dev/null || echo 0)
commit=$(git rev-parse --short=7 HEAD 2>/dev/null || echo 0000000)
echo "${version:-0.1.0}~$count.g$commit"
