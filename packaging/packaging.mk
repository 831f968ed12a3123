# Targets that turn the program into things to install, and prove them. Included
# by the Makefile of the repository; every path is relative to its root.
#
#   deb image sbom dist        build, the same bytes each time
#   dist-check                 build everything twice and compare
#   deb-test systemd-test      install for real: lintian; a Debian with systemd
#   image-test prom-test       run the image in podman; rules and dashboard
#   page-test                  look at the console page with a browser
#   kafka-test                 read by four clients of Kafka, compared with kfake
#   pg-matrix                  other majors of Postgres
#   compose-check docs-check   files that nothing here can run, kept in step

# Asked once, so that a commit made meanwhile cannot change them half way.
ifndef VERSION
VERSION           := $(shell packaging/version.sh)
endif
ifndef REVISION
REVISION          := $(shell git rev-parse HEAD 2>/dev/null)
endif
ifndef SOURCE_DATE_EPOCH
SOURCE_DATE_EPOCH := $(shell git log -1 --format=%ct 2>/dev/null || echo 0)
endif
MAINTAINER        ?= carbond maintainers <maintainers@carbond.dev>
SOURCE_URL        ?=
DIST              ?= dist
# The Debian that systemd-test boots.
SUITE             ?= bookworm
GO                ?= go
# Where the program comes from; other values are for trying the packaging alone.
PROGRAM_DIR       ?= .
PROGRAM           ?= ./cmd/carbond

# amd64 arm64 armhf are Debian's names, used for folders here.
ARCHS             := amd64 arm64 armhf
GOENV_amd64       := GOARCH=amd64 GOAMD64=v1
GOENV_arm64       := GOARCH=arm64
GOENV_armhf       := GOARCH=arm GOARM=7
PLATFORM_amd64    := linux/amd64
PLATFORM_arm64    := linux/arm64
PLATFORM_armhf    := linux/arm/v7

# Limits of DESIGN section 6, in bytes.
LIMIT_BINARY      := 28000000
LIMIT_DEB         := 10000000
LIMIT_IMAGE       := 32000000

export VERSION REVISION SOURCE_DATE_EPOCH

pkg_bins  := $(foreach a,$(ARCHS),$(DIST)/bin/$(a)/carbond)
pkg_debs  := $(foreach a,$(ARCHS),$(DIST)/carbond_$(VERSION)-1_$(a).deb)
pkg_sboms := $(foreach a,$(ARCHS),$(DIST)/carbond_$(VERSION)_linux_$(a).spdx.json)
pkg_oci   := $(DIST)/carbond_$(VERSION)_oci.tar
pkg_tools := $(DIST)/tools
pkg_deb   := $(shell dpkg --print-architecture 2>/dev/null || echo amd64)
pkg_date  := $(shell date -u -d @$(SOURCE_DATE_EPOCH) +%Y-%m-%dT%H:%M:%SZ)
pkg_tag   := $(subst +,-,$(subst ~,-,$(VERSION)))

.PHONY: binaries deb image sbom dist dist-check size-check unit-check deb-test systemd-test image-test \
	prom-test page-test kafka-test compose-check rules-check dashboard docs docs-check packaging-test

# The compiler decides what is out of date, so these run each time and cost
# little when nothing changed. grpcnotrace leaves out gRPC's request pages, which
# nothing serves and which bring html/template; text/template and html/template
# keep the linker from dropping unused methods (3.5 MB). In the pages nothing is
# inlined: the calls that build the markup are many, and people are slow (0.5 MB).
.PHONY: $(pkg_bins)
$(pkg_bins): $(DIST)/bin/%/carbond:
	@mkdir -p $(@D)
	cd $(PROGRAM_DIR) && CGO_ENABLED=0 GOOS=linux GOFLAGS= $(GOENV_$*) $(GO) build -trimpath -buildvcs=false -tags grpcnotrace -gcflags=carbond/cmd/carbond/internal/console=-l \
		-ldflags "-s -w -buildid= -X main.version=$(VERSION) -X main.revision=$(REVISION) -X main.date=$(pkg_date)" \
		-o $(abspath $@) $(PROGRAM)

binaries: $(pkg_bins)

# Tools from the packaging modules, built once for the host.
$(pkg_tools)/%: FORCE
	@mkdir -p $(@D)
	@cd packaging/$(or $(TOOLMOD_$*),.) && CGO_ENABLED=0 GOFLAGS= $(GO) build -buildvcs=false -o $(abspath $@) $(or $(TOOLPKG_$*),./$*)
TOOLMOD_mkdeb   := mkdeb
TOOLPKG_mkdeb   := .
TOOLMOD_mkimage := mkimage
TOOLPKG_mkimage := .
FORCE:

# Manual pages, completions, the sample configuration and the licences come from the program
# itself; the host's build of it is asked, also for the other architectures.
.PHONY: $(DIST)/docs
$(DIST)/docs: $(DIST)/bin/$(pkg_deb)/carbond $(pkg_tools)/mkcopyright
	@rm -rf $@ && mkdir -p $@/man $@/completion
	$< man $@/man
	for shell in bash zsh fish; do $< completion $$shell > $@/completion/$$shell || exit 1; done
	$< check-config --print-defaults | sed 's/ *$$//' > $@/carbond.yaml
	$(pkg_tools)/mkcopyright -binary $< > $@/copyright

deb: $(pkg_debs) ## the Debian packages for amd64, arm64, armhf
$(pkg_debs): $(DIST)/carbond_$(VERSION)-1_%.deb: $(DIST)/bin/%/carbond $(DIST)/docs $(pkg_tools)/mkdeb
	$(pkg_tools)/mkdeb -arch $* -version '$(VERSION)' -binary $< -docs $(DIST)/docs -out $(DIST) -maintainer '$(MAINTAINER)'

image: $(pkg_bins) $(pkg_tools)/mkimage ## container images: docker-load tarballs and an OCI index
	$(pkg_tools)/mkimage -version '$(pkg_tag)' -revision '$(REVISION)' -source '$(SOURCE_URL)' -out $(DIST) \
		$(foreach a,$(ARCHS),-binary $(PLATFORM_$(a))=$(DIST)/bin/$(a)/carbond)

sbom: $(pkg_sboms) ## SPDX list of what is linked into each binary
$(pkg_sboms): $(DIST)/carbond_$(VERSION)_linux_%.spdx.json: $(DIST)/bin/%/carbond $(pkg_tools)/mksbom
	$(pkg_tools)/mksbom -binary $< -version '$(VERSION)' > $@.part && mv $@.part $@

dist: dist-clean ## everything to release, with SHA256SUMS
	$(MAKE) deb image sbom
	for arch in $(ARCHS); do tar --sort=name --owner=0 --group=0 --numeric-owner --mtime=@$(SOURCE_DATE_EPOCH) \
		-C $(DIST)/bin/$$arch -cf - carbond | gzip -9n > $(DIST)/carbond_$(VERSION)_linux_$$arch.tar.gz || exit 1; done
	cd $(DIST) && sha256sum carbond_* > SHA256SUMS
	$(MAKE) size-check
	@cat $(DIST)/SHA256SUMS

.PHONY: dist-clean
dist-clean:
	@rm -f $(DIST)/carbond_* $(DIST)/SHA256SUMS

# The second build has its own folder, an empty build cache and other times on
# its inputs, so that nothing can be equal only because it was kept.
dist-check: dist ## build everything twice, compare the bytes
	rm -rf $(DIST)/again && mkdir -p $(DIST)/again/cache
	find packaging -name '*.yaml' -exec touch {} +
	GOCACHE=$(abspath $(DIST)/again/cache) $(MAKE) dist DIST=$(DIST)/again
	cmp $(DIST)/SHA256SUMS $(DIST)/again/SHA256SUMS
	rm -rf $(DIST)/again
	@echo "two builds, the same bytes"

size-check:
	@packaging/test/size.sh $(LIMIT_BINARY) $(DIST)/bin/*/carbond
	@packaging/test/size.sh $(LIMIT_DEB) $(DIST)/*.deb
	@packaging/test/size.sh $(LIMIT_IMAGE) $(DIST)/*.docker.tar

unit-check:
	systemd-analyze security --offline=true --threshold=15 packaging/systemd/carbond.service | tail -n 1

# lintian, contents, and what dpkg says; no root, no container.
deb-test: deb unit-check ## lintian and contents of the packages
	packaging/test/deb.sh $(pkg_debs)

# Root and podman: a Debian with systemd as PID 1. The second package has a
# higher version, so that an upgrade is a real one.
systemd-test: $(DIST)/carbond_$(VERSION)-1_$(pkg_deb).deb $(pkg_tools)/grpcurl ## install, run, break, upgrade and purge on a booted Debian (root, podman)
	rm -rf $(DIST)/upgrade
	$(MAKE) $(DIST)/upgrade/carbond_$(VERSION)+up-1_$(pkg_deb).deb DIST=$(DIST)/upgrade VERSION=$(VERSION)+up
	packaging/test/systemd.sh $< $(DIST)/upgrade/carbond_$(VERSION)+up-1_$(pkg_deb).deb $(pkg_tools) $(SUITE)

# The Postgres of other Debian releases, as MAJOR:SUITE; `make test` has this
# machine's own. PG_SCOPE=replicate leaves the oracle out.
PG_MATRIX ?= 17:trixie 18:forky
PG_SCOPE  ?= all
.PHONY: pg-matrix
pg-matrix: ## replication tests and oracle against other majors of Postgres (apt)
	packaging/test/pg-matrix.sh $(DIST)/cache/postgres $(PG_SCOPE) $(PG_MATRIX)

# The programs for other architectures, by qemu.
.PHONY: arch-test
arch-test: $(pkg_bins) ## start, serve, check and stop the arm programs (qemu-user-static)
	packaging/test/arch.sh $(DIST)/bin

image-test: image $(pkg_tools)/grpcurl ## run the image with everything taken away (podman)
	packaging/test/image.sh $(DIST) '$(pkg_tag)' $(pkg_tools)/grpcurl

$(pkg_tools)/grpcurl: packaging/tools/go.mod
	@mkdir -p $(@D)
	cd packaging/tools && GOFLAGS= CGO_ENABLED=0 $(GO) build -trimpath -o $(abspath $@) github.com/fullstorydev/grpcurl/cmd/grpcurl

rules-check:
	promtool check rules packaging/alerts/carbond.rules.yml
	promtool test rules packaging/alerts/carbond.rules_test.yml

# The daemon, Debian's prometheus, every query of the dashboard and the alerts.
prom-test: rules-check $(DIST)/bin/$(pkg_deb)/carbond ## alerts, dashboard and metrics against a real Prometheus
	cd packaging && GOFLAGS= CARBOND_BINARY=$(abspath $(DIST)/bin/$(pkg_deb)/carbond) $(GO) test -count=1 ./promtest/...

# Needs chromium, npm for axe-core, eventsource and DuckDB, Postgres, python3-pandas, and for a
# disk that is full the right to mount one. Pictures of the pages are left in $(DIST)/pages.
page-test: $(DIST)/bin/$(pkg_deb)/carbond ## the console in a real browser, well and in trouble; EventSource, pandas and DuckDB read from addresses
	@mkdir -p $(DIST)/pages
	cd packaging/pagetest && GOFLAGS= $(GO) vet ./... && GOFLAGS= CARBOND_BINARY=$(abspath $<) CARBOND_ARTIFACTS=$(abspath $(DIST)/pages) $(GO) test -count=1 ./...

# Needs npm for kafkajs.
kafka-test: $(DIST)/bin/$(pkg_deb)/carbond ## three clients of Kafka in Go and kafkajs read the demo; it answers as kfake does
	cd packaging/kafkatest && GOFLAGS= $(GO) vet ./... && GOFLAGS= CARBOND_BINARY=$(abspath $<) $(GO) test -count=1 ./...

compose-check: $(DIST)/bin/$(pkg_deb)/carbond ## files of the compose project
	cd packaging && GOFLAGS= CARBOND_BINARY=$(abspath $<) $(GO) test -count=1 ./compose/...

dashboard: ## regenerate the Grafana dashboard
	cd packaging && GOFLAGS= $(GO) run ./mkdash > grafana/dashboards/carbond.json.part && mv grafana/dashboards/carbond.json.part grafana/dashboards/carbond.json

docs: $(DIST)/bin/$(pkg_deb)/carbond ## regenerate the catalogue of metrics
	cd packaging && GOFLAGS= $(GO) run ./mkdocs -binary $(abspath $<) > docs/metrics.md.part && mv docs/metrics.md.part docs/metrics.md

docs-check: $(DIST)/bin/$(pkg_deb)/carbond ## compare both with what is committed
	cd packaging && GOFLAGS= $(GO) run ./mkdocs -binary $(abspath $<) | diff docs/metrics.md -
	cd packaging && GOFLAGS= $(GO) run ./mkdash | diff grafana/dashboards/carbond.json -

# Everything of the packaging that needs neither root nor a container.
packaging-test: deb-test compose-check prom-test docs-check ## what needs neither root nor a container
	cd packaging && GOFLAGS= $(GO) vet ./... && GOFLAGS= $(GO) test -count=1 ./internal/... ./mkdash
	cd packaging/mkdeb && GOFLAGS= $(GO) vet ./...
	cd packaging/mkimage && GOFLAGS= $(GO) vet ./...

# A signed apt repository in $(DIST)/apt: make apt-repo KEY=<gpg key id>
.PHONY: apt-repo
apt-repo: deb ## a signed apt repository of the packages (KEY=<gpg key>)
	@test -n '$(KEY)' || { echo 'set KEY to the id of the signing key' >&2; exit 1; }
	packaging/apt/publish.sh $(DIST)/apt '$(KEY)' $(pkg_debs)

.PHONY: apt-repo-test
apt-repo-test: $(DIST)/carbond_$(VERSION)-1_$(pkg_deb).deb ## publish with a throw-away key; be apt with the right and a wrong one (reprepro)
	packaging/test/apt-repo.sh $<
