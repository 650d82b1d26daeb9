# Lectern's commands. `make` alone lists them. Everything that a command needs is installed by it (Debian, as root)
# or named in one line; see scripts/need.sh.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

CARGO  := cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)
SHARED := $(or $(SHARED),../shared)
export SHARED

# What builds: pingora and aws-lc-rs compile C and C++, partly with cmake.
NEED_BUILD := cc c++ cmake
PYTHON     := PYTHONDONTWRITEBYTECODE=1 python3

.PHONY: help
help: ## this list
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: run
run: build ## the sample LMS with the edge in front of it; Ctrl-C ends both
	@scripts/need.sh curl
	@TARGET=$(TARGET) scripts/run.sh

.PHONY: build
build: need
	@$(CARGO) build --locked --workspace --bins

STATIC := x86_64-unknown-linux-gnu

.PHONY: static
static: need ## lectern as one file that loads nothing, for pipelines and bare images
	@RUSTFLAGS='-C target-feature=+crt-static' $(CARGO) build --locked $(if $(CI),,--release) --target $(STATIC) --bin lectern
	@built=$(TARGET)/$(STATIC)/$(if $(CI),debug,release)/lectern; \
	  ! ldd $$built 2>/dev/null | grep -q '=>' || { echo "static: $$built still loads libraries" >&2; exit 70; }; \
	  $$built --version && echo "static: $$built"

.PHONY: need
need:
	@scripts/need.sh $(NEED_BUILD)

.PHONY: test
test: need ## all tests; T=name runs those whose name holds it
	@$(CARGO) test --locked --workspace -- $(T)

.PHONY: check
check: fmt clippy rustdoc deny test ## what CI runs before the end-to-end tests

.PHONY: fmt
fmt:
	@$(CARGO) fmt --all --check

.PHONY: clippy
clippy: need
	@$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

.PHONY: rustdoc
rustdoc: need
	@RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps --document-private-items

.PHONY: deny
deny: ## licences, sources and known faults of what is built in
	@TARGET=$(TARGET) scripts/deny.sh

.PHONY: certs
certs: build ## development certificates in certs/dev, of an authority made there
	@$(TARGET)/debug/lectern certs certs/dev localhost lms.localhost packages.localhost

.PHONY: e2e
e2e: build ## a browser, the edge and a real Kolibri
	@LECTERN=$(TARGET)/debug/lectern scripts/e2e.sh

.PHONY: crash
crash: build ## kills and power cuts at random instants; ROUNDS=20 instead of 200 (CI: 20), SEED=n one run again
	@scripts/need.sh python3
	@FAULTS=$(TARGET)/faults $(PYTHON) tests/faults/selftest.py
	@$(PYTHON) tests/crash/selftest.py
	@LECTERN=$(abspath $(TARGET))/debug/lectern ROUNDS=$(or $(ROUNDS),$(if $(CI),20,200)) SEED=$(SEED) $(PYTHON) tests/crash/run.py

BENCH := python3 nginx wrk h2load openssl taskset setpriv

.PHONY: bench
bench: need ## speed beside other caches; QUICK=1 in three minutes, CASES="HTTPS,idle" PEERS=lectern,nginx for those
	@scripts/need.sh $(BENCH) haproxy
	@scripts/need.sh varnishd hitch traffic_server || echo 'bench: goes on with those that are here' >&2
	@$(CARGO) build --locked --profile fast --bin lectern
	@LECTERN=$(TARGET)/fast/lectern $(PYTHON) benches/http/run.py $(if $(QUICK),--quick) --cases='$(CASES)' --peers='$(PEERS)' --out target/bench

.PHONY: bench-parts
bench-parts: need ## what single parts cost (criterion); T=memory one file of benches/
	@$(CARGO) bench --locked $(if $(T),--bench $(T))

.PHONY: bench-smoke
bench-smoke: build
	@scripts/need.sh $(BENCH)
	@$(PYTHON) benches/http/selftest.py
	@LECTERN=$(TARGET)/debug/lectern $(PYTHON) benches/http/run.py --smoke --out target/bench-smoke

LOAD := nginx taskset setpriv

.PHONY: load
load: need ## 94 tenants' learners at normal, three and ten times the load, beside nginx and no cache; SECONDS=10 shorter phases, PEERS=lectern
	@scripts/need.sh $(LOAD)
	@$(CARGO) build --locked --profile fast --workspace --bins
	@$(TARGET)/fast/loadtest load --lectern $(TARGET)/fast/lectern --out target/load \
	  $(if $(SECONDS),--seconds $(SECONDS)) $(if $(PEERS),--only $(PEERS))

.PHONY: load-smoke
load-smoke: build
	@scripts/need.sh $(LOAD)
	@$(TARGET)/debug/loadtest load --lectern $(TARGET)/debug/lectern --out target/load-smoke --smoke $(if $(PEERS),--only $(PEERS))

.PHONY: scale
scale: need ## a disk with 2 million stored responses: start, index, late hits; CI=true: 200,000, not optimised
	@scripts/need.sh python3 nginx h2load taskset setpriv
	@$(PYTHON) benches/scale/selftest.py
	@$(CARGO) build --locked $(if $(CI),,--profile fast) --bin lectern --example scale
	@built=$(TARGET)/$(if $(CI),debug,fast); \
	  LECTERN=$$built/lectern $(PYTHON) benches/scale/run.py --generate $$built/examples/scale $(if $(CI),--small) --out target/scale

FUZZED := $(or $(T),$(basename $(notdir $(wildcard fuzz/fuzz_targets/*.rs))))
FUZZ   := $(abspath $(TARGET))/fuzz
TOOLS  := $(abspath $(TARGET))/tools

.PHONY: fuzz
fuzz: need ## the parsers against random input, a minute each; T=range that one, S=600 for longer
	@rustup run nightly rustc --version >/dev/null || { echo "fuzz: needs: rustup toolchain install nightly" >&2; exit 69; }
	@[ -x $(TOOLS)/bin/cargo-fuzz ] || $(CARGO) install --quiet --locked --version 0.13.2 --root $(TOOLS) cargo-fuzz
	@for target in $(FUZZED); do \
	  mkdir -p $(FUZZ)/found/$$target; \
	  PATH=$(TOOLS)/bin:$$PATH $(CARGO) +nightly fuzz run --target-dir $(FUZZ) -O -a $$target \
	    $(FUZZ)/found/$$target fuzz/corpus/$$target -- -max_total_time=$(or $(S),60) -timeout=10 -verbosity=0; \
	done

.PHONY: field
field: build ## the public failure reports against this edge; C="G06 G43" runs those
	@LECTERN=$(TARGET)/debug/lectern scripts/field.sh $(C)

.PHONY: conformance
conformance: build ## the public HTTP cache suite; SUITE=folder a checkout of its current state, ID="case case" those alone
	@scripts/need.sh python3 node npm tar
	@cd tests/conformance && $(PYTHON) -m unittest -q selftest
	@LECTERN=$(TARGET)/debug/lectern SUITE='$(SUITE)' ID='$(ID)' OUT=target/conformance $(PYTHON) tests/conformance/run.py

.PHONY: soak
soak: need ## the tests at full length and size; takes hours
	@LECTERN_SOAK=1 $(CARGO) test --locked --release --workspace -- $(T)
