# hangtrace: flat verbs; "make help" lists them.
SHELL := /bin/bash
GO ?= go
VERSION ?= dev
LDFLAGS := -s -w -X main.release=$(VERSION)
# The command line library writes no manual pages for us, and what it needs for them
# is set up at the start of every process.
TAGS := urfave_cli_no_docs
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.9.0
KERNELS ?= all
FUZZTIME ?= 10s
FUZZJOBS ?= 1
HANGTRACE_SOAK ?= 30m
MATRIXFLAGS ?=
BENCHFLAGS ?=
BENCHTIME ?= 200ms
BASE ?=

.DEFAULT_GOAL := help
.PHONY: help build build-all test test-root test-ceph test-vm soak generate verify sizes bench hooks bench-compare fuzz race vuln lint demo captures clean

help: ## list the verbs
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

build: ## build bin/hangtrace, static
	CGO_ENABLED=0 $(GO) build -buildvcs=auto -trimpath -tags $(TAGS) -ldflags '$(LDFLAGS)' -o bin/hangtrace ./cmd/hangtrace

build-all: build ## build for arm64 too
	CGO_ENABLED=0 GOARCH=arm64 $(GO) build -buildvcs=auto -trimpath -tags $(TAGS) -ldflags '$(LDFLAGS)' -o bin/hangtrace-arm64 ./cmd/hangtrace

test: build ## run the tests; what needs root is left out, and named, without it
	@if [ "$$(id -u)" = 0 ]; then echo "as root: the end-to-end tests run, with the real BPF programs"; \
	else echo "not root: tests that need BPF or mounts are skipped; to run them: sudo make test"; fi
	HANGTRACE_BIN=$(CURDIR)/bin/hangtrace $(GO) test -timeout 20m ./...

test-root: build ## run the tests and fail where a privileged one is skipped
	HANGTRACE_REQUIRE_BPF=1 $(MAKE) test

test-ceph: build ## run against a real Ceph cluster and kernel client, in a guest
	test/ceph/run.sh

test-vm: build-all ## run programs and commands on other kernels, as a table: KERNELS="5.10 6.12", or all; MATRIXFLAGS=-q: fewer tests
	test/vm/install.sh vm
	for arch in amd64 arm64; do for p in internal/loader test/e2e; do \
		CGO_ENABLED=0 GOARCH=$$arch $(GO) test -c -o bin/$${p##*/}-$$arch.test ./$$p || exit 1; done; done
	test/vm/matrix.sh $(MATRIXFLAGS) "$(KERNELS)"

soak: build ## as root: watch a node whose kubelet hangs and restarts for HANGTRACE_SOAK=30m
	HANGTRACE_SOAK=$(HANGTRACE_SOAK) HANGTRACE_REQUIRE_BPF=1 HANGTRACE_BIN=$(CURDIR)/bin/hangtrace \
		$(GO) test -timeout 0 -run '^TestSoak$$' -v ./test/e2e

generate: ## compile the BPF programs with clang-19 and the generated tables
	cd bpf && $(GO) generate ./...

verify: ## regenerate and fail on a difference
	$(MAKE) generate
	git diff --exit-code --stat -- bpf
	@test -z "$$(git status --porcelain -- bpf)" || { git status --short -- bpf; echo "bpf/ differs from what its sources give: commit it" >&2; exit 1; }

sizes: ## as root: write down anew how big the BPF programs are, and what the verifier looks at: KERNELS as above
	test/vm/install.sh vm
	CGO_ENABLED=0 GOARCH=amd64 $(GO) test -c -o bin/loader-amd64.test ./internal/loader
	CGO_ENABLED=0 GOARCH=arm64 $(GO) test -c -o bin/loader-arm64.test ./internal/loader
	set -o pipefail; test/vm/run-kernel.sh -d internal/loader -m fuse,ceph,rbd "$(KERNELS)" 'bin/loader-{arch}.test' -test.v -test.run '^TestSizes$$' -sizes=print | tee bin/sizes.log
	$(GO) test -count=1 -run '^TestSizes$$' ./internal/loader -sizes=update -sizes-from=$(CURDIR)/bin/sizes.log

bench: build ## as root: what it costs, beside strace, perf trace, bpftrace, ps: BENCHFLAGS=--quick
	$(GO) run ./test/bench --bin bin/hangtrace $(BENCHFLAGS)
	set -o pipefail; $(GO) test -run '^$$' -bench . -benchmem -benchtime $(BENCHTIME) ./internal/... | grep -E '^(Benchmark|cpu|FAIL|panic|---)'

hooks: ## what an empty program on each kind of hook costs on other kernels, in instructions
	test/vm/install.sh vm
	CGO_ENABLED=0 $(GO) test -c -o bin/hooks-amd64.test ./test/vm/hooks
	for k in 6.1 6.12 7.2; do echo "Linux $$k"; set -o pipefail; test/vm/vmtest --icount -t 300 -e HANGTRACE_HOOKS=1 -f bin/hooks-amd64.test:/bin/hooks.test $$k -- \
		/bin/hooks.test -test.v | sed -n 's/.*hook: /  /p; /^--- FAIL/p' || exit 1; done

bench-compare: ## the Go benchmarks beside those of an earlier commit: BASE=COMMIT
	test/bench/compare.sh $(BASE)

fuzz: ## run every fuzzer for a while: FUZZTIME=10s (or 2000x: so many inputs); FUZZJOBS=1 at once
	test/fuzz.sh -j $(FUZZJOBS) $(FUZZTIME)

race: ## as root: the tests with the race detector, in the packages and in the program
	test/race.sh

# The database of weaknesses is not pinned, as it is of use only while it is new. It
# comes as a module, from where the others come.
vuln: ## known weaknesses of what the program calls, by govulncheck
	@db=$$($(GO) mod download -json golang.org/x/vulndb@latest | sed -n 's/^\t"Dir": "\(.*\)",$$/\1/p'); \
	test -n "$$db" || { echo "no database: golang.org/x/vulndb could not be fetched" >&2; exit 1; }; \
	$(GO) run $(GOVULNCHECK) -db "file://$$db/data/osv" -tags $(TAGS) ./...

lint: ## gofmt, vet, staticcheck, clang-format, shellcheck
	@test -z "$$(gofmt -l bpf cmd internal test)" || { gofmt -l bpf cmd internal test; exit 1; }
	$(GO) vet ./...
	GOARCH=arm64 $(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...
	clang-format-19 --dry-run --Werror bpf/*.c bpf/*.h
	shellcheck -x .ci/run test/fuzz.sh test/race.sh test/bench/compare.sh test/vm/vmtest test/vm/*.sh test/vm/lib/*.sh test/ceph/*.sh

demo: build ## as root: hang a kubelet on purpose, find it, clean up
	$(GO) run ./test/demo --bin bin/hangtrace

captures: build ## as root: put the demo's output into the documents
	$(GO) run ./test/demo --bin bin/hangtrace | tee /dev/stderr | $(GO) run ./test/captures README.md docs/runbook.md

clean: ## remove what was built
	rm -rf bin
