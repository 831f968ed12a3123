#!/bin/sh
# deb.sh FILE.deb...: what can be said of packages without installing them.
set -eu
here=$(cd "$(dirname "$0")" && pwd)

for deb; do
    echo "== $deb"
    lintian --pedantic --fail-on error,warning "$deb"

    conffiles=$(dpkg-deb --ctrl-tarfile "$deb" | tar -xOf - ./conffiles | grep -v '^$')
    [ "$conffiles" = /etc/carbond/carbond.yaml ] || {
        echo "conffiles: want only /etc/carbond/carbond.yaml, have: $conffiles" >&2
        exit 1
    }

    list=$(dpkg-deb --fsys-tarfile "$deb" | tar -tf - | sed 's,^\./,/,')
    for want in /usr/bin/carbond /usr/lib/systemd/system/carbond.service /usr/lib/sysusers.d/carbond.conf \
        /usr/lib/tmpfiles.d/carbond.conf /usr/share/man/man8/carbond.8.gz /usr/share/man/man5/carbond.yaml.5.gz \
        /usr/share/bash-completion/completions/carbond /usr/share/zsh/vendor-completions/_carbond \
        /usr/share/fish/vendor_completions.d/carbond.fish /usr/share/doc/carbond/copyright \
        /usr/share/doc/carbond/changelog.Debian.gz /usr/share/doc/carbond/examples/credentials.conf \
        /usr/share/doc/carbond/examples/view-files.conf; do
        echo "$list" | grep -qx "$want" || {
            echo "missing in $deb: $want" >&2
            exit 1
        }
    done
    # Everything belongs to root and carries one time.
    times=$(dpkg-deb --fsys-tarfile "$deb" | tar --full-time -tvf - | awk '{print $2, $4, $5}' | sort -u)
    [ "$(echo "$times" | wc -l)" -eq 1 ] || {
        echo "more than one owner or time in $deb:" "$times" >&2
        exit 1
    }
    dpkg-deb --info "$deb" | sed -n '/^ Package:/,/^ Description/p'
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
for script in postinst prerm postrm; do
    sh -n "$here/../deb/scripts/$script"
done
for deb; do
    dpkg-deb --extract "$deb" "$work"
    # The unit must be one that systemd understands; the program is not
    # installed here, so that line is expected. So must the examples of drop-ins.
    mkdir -p "$work/usr/lib/systemd/system/carbond.service.d"
    cp "$work"/usr/share/doc/carbond/examples/*.conf "$work/usr/lib/systemd/system/carbond.service.d/"
    problems=$(systemd-analyze verify "$work/usr/lib/systemd/system/carbond.service" 2>&1 |
        grep -v -e 'is not executable: No such file' -e "Command 'man " || true)
    [ -z "$problems" ] || {
        echo "systemd-analyze verify: $problems" >&2
        exit 1
    }
done
echo "packages: ok"
