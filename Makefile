# All targets work in a fresh clone; those that need a program install it or say how to.

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
REVISION = $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
EPOCH    = $(shell git log -1 --format=%ct 2>/dev/null || echo 0)
IMAGE   ?= redstart:$(VERSION)
PLATFORMS ?= linux/amd64,linux/arm64
SEEDS   ?= 10000
BENCH   ?= .
SCENARIOS ?= all
GOFUMPT := go tool -modfile=tools/go.mod gofumpt
LINTER  := go tool -modfile=tools/lint/go.mod golangci-lint
SOURCES  = $$(git ls-files -co --exclude-standard '*.go' | grep -v zz_generated)

.DEFAULT_GOAL := help

.PHONY: up
up: .go .redis-server build ## Run the guestbook on a highly available Redis, on this machine
	bin/redstart up -f examples/guestbook

.PHONY: build
build: .go ## Build bin/redstart
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/redstart ./cmd/redstart

.PHONY: image
image: .go ## Build the container image IMAGE for PLATFORMS: dist/image and dist/redstart-*.tar, without Docker
	SOURCE_DATE_EPOCH=$(EPOCH) go run ./hack/image -name $(IMAGE) -platforms $(PLATFORMS) -version $(VERSION) -revision $(REVISION)

.PHONY: test
test: .go .test-tools build ## Run all tests, against real redis-servers
	go vet ./...
	hack/test.sh

.PHONY: test-valkey
test-valkey: .go .redis-server ## Run what speaks to servers, and the scenarios on one machine, against Valkey 9 (Debian, amd64 or arm64)
	valkey=$$(hack/valkey.sh); test -n "$$valkey" || exit 1; \
	PATH="$$valkey:$$PATH" go test -count=1 -timeout 60m -p 1 ./internal/redis/... ./internal/agent ./test/e2e

.PHONY: scenarios
scenarios: .go .redis-server build ## Run the end-to-end scenarios on the embedded cluster, printing write gaps and losses
	go test -count=1 -timeout 30m -v ./test/e2e/...

.PHONY: e2e
e2e: .go ## Run them, and those that break nodes, on a real Kubernetes: $KUBECONFIG, or three nodes on this machine (SCENARIOS=core: the shortest)
	hack/e2e.sh -scenarios=$(SCENARIOS)

.PHONY: scale
scale: .go build ## Measure the operator with 200 Redises and with 1,000 Rollouts against a real API server (SCALE='-redises=20 -resyncs=10': less)
	hack/scale.sh $(SCALE)

.PHONY: kubelab
kubelab: .go ## Build bin/kubelab, which runs a real Kubernetes on this machine
	go build -C test/kubelab -o $(CURDIR)/bin/kubelab .

.PHONY: simulate
simulate: .go ## Run the planner against SEEDS random fault schedules
	go test -count=1 -timeout 4h -run Simul ./internal/plan/... -args -seeds=$(SEEDS)

.PHONY: bench
bench: .go .redis-server ## Run the Go benchmarks
	go test -run '^$$' -bench '$(BENCH)' -benchmem ./...

.PHONY: lint
lint: .go ## Check formatting, vet, lint, and the shell scripts where shellcheck is installed
	@unformatted=$$($(GOFUMPT) -l $(SOURCES)); \
	if [ -n "$$unformatted" ]; then echo "make fmt would change:"; echo "$$unformatted"; exit 1; fi
	go vet ./...
	$(LINTER) run ./...
	@if command -v shellcheck >/dev/null; then shellcheck $$(git ls-files '*.sh' .ci/run); fi

.PHONY: fmt
fmt: .go ## Format the Go sources
	$(GOFUMPT) -w $(SOURCES)

.PHONY: generate
generate: .go ## Generate deep copies, the CRDs, OpenAPI, the charts' files, and the reference pages of docs/
	hack/generate.sh
	go run ./hack/resourcedoc Redis >docs/redis-resource.md
	go run ./hack/resourcedoc Rollout >docs/rollout-resource.md
	go test -count=1 ./cmd/redstart -run TestReferenceIsCurrent -update
	go test -count=1 ./internal/install -run TestChartFiles -update

.PHONY: clean
clean: ## Remove what was built
	rm -rf bin dist

.PHONY: help
help: ## Show this
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' Makefile

.PHONY: .go .redis-server .test-tools
.go:
	@hack/need.sh go

.redis-server:
	@hack/need.sh redis-server

.test-tools: .redis-server
	@hack/need.sh cc chromium python3-redis kubectl ioredis
