# carbond: build, try and check. `make help` lists the targets.

GO     ?= go
TOOLS  := $(GO) tool -modfile=packaging/tools/go.mod
BUF    := $(GO) tool -modfile=../packaging/tools/buf/go.mod buf
NICE   ?=
export CGO_ENABLED ?= 0

BUILD_DATE := $(shell git log -1 --format=%cI 2>/dev/null || echo unknown)
BUILD_REV  := $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
BUILD_VER  := $(shell packaging/version.sh 2>/dev/null || echo dev)
LDFLAGS    := -s -w -X main.version=$(BUILD_VER) -X main.revision=$(BUILD_REV) -X main.date=$(BUILD_DATE)

.PHONY: help build run run-postgres test race race-all fuzz bench check verify fmt fmt-check vet lint tidy-check \
	proto proto-check peer-test crash faults soak fleet oracle clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build bin/carbond
	$(GO) build -trimpath -tags grpcnotrace -gcflags=carbond/cmd/carbond/internal/console=-l -ldflags '$(LDFLAGS)' -o bin/carbond ./cmd/carbond

run: build ## build, then run offline with SAMPLE DATA and print what to call
	./bin/carbond demo

run-postgres: build ## run a throw-away Postgres under ./.run and a daemon that tails it
	packaging/run-postgres.sh

test: ## every test; installs what it needs from Debian when it is missing and you are root
	@packaging/need-postgres.sh
	@packaging/need-test-tools.sh
	$(GO) build -v ./...
	$(TOOLS) gotestsum --format pkgname-and-test-fails --format-hide-empty-pkg -- -count=1 -timeout 20m ./...

# The packages that drive the built program from outside add little under the
# race detector and much time: race-all has them too.
race: ## the tests under the race detector, in their short form
	CGO_ENABLED=1 $(GO) test -race -short -count=1 -timeout 25m $$($(GO) list ./... | grep -v -e /internal/e2e -e /internal/feedse2e)

race-all: ## the same with the tests that drive the whole program
	CGO_ENABLED=1 $(GO) test -race -short -count=1 -p 1 -timeout 40m ./...

FUZZTIME ?= 10s
fuzz: ## each fuzz target for FUZZTIME
	packaging/fuzz.sh $(FUZZTIME)

crash: ## kill -9 at every named point, many more rounds than in the tests
	$(GO) test ./store -run 'TestKill|TestModel' -count=20 -v

FAULT_RUNS ?= 10000
FAULT_SEED ?=
faults: ## FAULT_RUNS random runs under faults of disk, process and network; FAULT_SEED resumes
	packaging/faults.sh $(FAULT_RUNS) $(FAULT_SEED)

SOAK ?= 30m
soak: ## 200 changes a second with watchers and groups for SOAK: what the daemon holds stays flat
	$(GO) test ./cmd/carbond/internal/e2e -run '^TestSoak$$' -count=1 -timeout 0 -v -args -soak $(SOAK)

FLEET ?= 300
fleet: ## three nodes of one Postgres for FLEET rounds of kills, cuts, lost disks and slots: equal checksums after each
	$(GO) test ./cmd/carbond/internal/e2e -run '^TestFleet$$' -count=1 -timeout 0 -v -args -fleet $(FLEET)

oracle: ## the oracle against a real Postgres for ten minutes
	$(GO) test ./cmd/carbond/internal/e2e -run Oracle -count=1 -timeout 40m -v -args -long

PEER ?= $(shell $(GO) list -m -f '{{.Dir}}' github.com/mmcdole/gofeed)/testdata
peer-test: ## how often feed files of another parser's tests (PEER=FOLDER) are read as recorded there
	$(GO) test -tags peers ./feeds/news -run '^TestPeerFiles$$' -count=1 -v -args -peer $(PEER)

bench: ## the figures of the README, as ratios within this run
	packaging/bench.sh

check: fmt-check vet lint tidy-check proto-check ## what needs a compiler and a few minutes only

verify: check race fuzz packaging-test ## all that CI checks beside `make test`

fmt: ## rewrite with gofumpt
	$(TOOLS) gofumpt -w $$(git ls-files '*.go' | grep -v '\.pb\.go$$')

fmt-check:
	@files=$$(git ls-files '*.go' | grep -v '\.pb\.go$$') || { echo "git lists no Go files here"; exit 1; }; \
	out=$$($(TOOLS) gofumpt -l $$files) || exit 1; \
	if [ -n "$$out" ]; then echo "not formatted (run 'make fmt'):"; echo "$$out"; exit 1; fi

vet:
	$(GO) vet ./...

lint:
	$(TOOLS) staticcheck ./...

tidy-check:
	$(GO) mod tidy -diff
	$(GO) mod verify

proto: ## regenerate the Go code of the .proto files
	cd proto && $(BUF) lint && $(BUF) generate

proto-check:
	cd proto && $(BUF) lint && $(BUF) generate
	@git diff --exit-code -- proto || { echo "generated code was stale: commit it"; exit 1; }

clean: ## remove what was built
	rm -rf bin dist .run

include packaging/packaging.mk
