package main

import (
	"fmt"
	"path/filepath"

	"github.com/goreleaser/nfpm/v2"
	"github.com/goreleaser/nfpm/v2/files"
)

// The long description, one paragraph per entry, as control(5) wants it.
const description = `edge appliance that serves carbon-market data
carbond follows Postgres tables by logical replication, or polls its feeds
without any database, keeps the current view of projects, prices and news in
memory, and answers gRPC and HTTP calls from it. Every change is in a durable
log that consumers read by topic and offset.

One static program stands in for a connector, a broker, a stream processor, a
cache and an API server.`

// describe is the whole package: control fields, scripts and contents.
func describe(o options, work string) (*nfpm.Info, error) {
	contents, err := list(o, work)
	if err != nil {
		return nil, err
	}
	script := func(name string) string { return filepath.Join(o.sources, "deb", "scripts", name) }
	return nfpm.WithDefaults(&nfpm.Info{
		Name:            "carbond",
		Arch:            o.arch,
		Platform:        "linux",
		Version:         o.version + "-1",
		VersionSchema:   "none",
		Section:         "net",
		Priority:        "optional",
		Maintainer:      o.maintainer,
		Description:     description,
		License:         "MIT",
		DisableGlobbing: true,
		MTime:           o.epoch,
		Overridables: nfpm.Overridables{
			Depends: []string{
				"ca-certificates",
				"systemd | systemd-standalone-sysusers | systemd-sysusers",
				"systemd | systemd-standalone-tmpfiles | systemd-tmpfiles",
			},
			Suggests: []string{"postgresql (>= 15)", "prometheus"},
			Contents: contents,
			Umask:    0o022,
			Scripts: nfpm.Scripts{
				PostInstall: script("postinst"),
				PreRemove:   script("prerm"),
				PostRemove:  script("postrm"),
			},
			Deb: nfpm.Deb{
				Arch:        o.arch,
				Compression: "xz",
			},
		},
	}), nil
}

// list is where everything goes. Only the configuration is a conffile: the
// sample that the program prints, in which everything is commented out.
func list(o options, work string) (files.Contents, error) {
	l := lister{options: o, work: work}
	src := func(parts ...string) string { return filepath.Join(append([]string{o.sources}, parts...)...) }

	l.add(o.binary, "/usr/bin/carbond", 0o755, files.TypeFile)
	l.add(filepath.Join(o.docs, "carbond.yaml"), "/etc/carbond/carbond.yaml", 0o640, files.TypeConfig)
	l.add(src("systemd", "carbond.service"), "/usr/lib/systemd/system/carbond.service", 0o644, files.TypeFile)
	l.add(src("deb", "carbond.sysusers"), "/usr/lib/sysusers.d/carbond.conf", 0o644, files.TypeFile)
	l.add(src("deb", "carbond.tmpfiles"), "/usr/lib/tmpfiles.d/carbond.conf", 0o644, files.TypeFile)
	l.add(src("deb", "lintian-overrides"), "/usr/share/lintian/overrides/carbond", 0o644, files.TypeFile)

	l.add(filepath.Join(o.docs, "completion", "bash"), "/usr/share/bash-completion/completions/carbond", 0o644, files.TypeFile)
	l.add(filepath.Join(o.docs, "completion", "zsh"), "/usr/share/zsh/vendor-completions/_carbond", 0o644, files.TypeFile)
	l.add(filepath.Join(o.docs, "completion", "fish"), "/usr/share/fish/vendor_completions.d/carbond.fish", 0o644, files.TypeFile)
	l.manuals(filepath.Join(o.docs, "man"))

	l.add(filepath.Join(o.docs, "copyright"), "/usr/share/doc/carbond/copyright", 0o644, files.TypeFile)
	l.changelogs()
	l.tree(src("deb", "examples"), "/usr/share/doc/carbond/examples")
	l.tree(src("alerts"), "/usr/share/doc/carbond/examples/alerts")
	l.tree(src("grafana", "dashboards"), "/usr/share/doc/carbond/examples/grafana")
	if l.err != nil {
		return nil, fmt.Errorf("collect contents: %w", l.err)
	}
	return l.contents, nil
}
