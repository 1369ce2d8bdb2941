# The two commands of the README are `make run` and `make test`; the rest is for those who work on the project.

CARGO ?= cargo
PROGRAM := target/release/traceflow_exporter
export TRACEFLOW_REVISION ?= $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)

.PHONY: run build install package test tools check unit lab endurance accuracy look goldens pictures schema manifests fuzz bench clean

run: build
	$(PROGRAM) --config.file=config.example.yaml

build:
	$(CARGO) build --release --locked

# The program, completions for bash, zsh and fish, and manual pages. A package builder sets DESTDIR.
PREFIX ?= /usr/local
SHARE = $(DESTDIR)$(PREFIX)/share
GENERATED := target/generated
install:
	test -x $(PROGRAM) || $(MAKE) build
	rm -rf $(GENERATED) && mkdir -p $(GENERATED) && $(PROGRAM) generate $(GENERATED)
	install -D -m 755 $(PROGRAM) $(DESTDIR)$(PREFIX)/bin/traceflow_exporter
	install -D -m 644 $(GENERATED)/traceflow_exporter.bash $(SHARE)/bash-completion/completions/traceflow_exporter
	install -D -m 644 $(GENERATED)/_traceflow_exporter $(SHARE)/zsh/site-functions/_traceflow_exporter
	install -D -m 644 $(GENERATED)/traceflow_exporter.fish $(SHARE)/fish/vendor_completions.d/traceflow_exporter.fish
	for page in $(GENERATED)/*.1; do install -D -m 644 $$page $(SHARE)/man/man1/$$(basename $$page) || exit 1; done

# The Debian package, into target/debian.
package: build .test-tools/bin/cargo-deb
	rm -rf $(GENERATED) && mkdir -p $(GENERATED) && $(PROGRAM) generate $(GENERATED)
	.test-tools/bin/cargo-deb --no-build --no-strip --locked

.test-tools/bin/cargo-deb:
	scripts/install-test-tools cargo-deb

# Everything that has to hold before a change lands: formatting, lints, all tests, also those on network namespaces
# (as root; without root they say that they were skipped).
test: tools check unit

tools:
	scripts/install-test-tools

check:
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps --locked --quiet

unit:
	$(CARGO) test --locked

# Only the tests on network namespaces.
lab:
	$(CARGO) test --locked --test kernel

# The long versions of what the lab does to a running exporter: 40 changes of next hops ten rounds apart, 20 new hash seeds, 100 kills.
endurance:
	LAB_CHANGES=40 LAB_SEEDS=20 RESTART_KILLS=100 $(CARGO) test --locked --test kernel -- next_hops_that a_new_hash_seed kills_take

# Long campaigns over simulated networks: prints the tables of docs/accuracy.md. ACCURACY_ONLY=twelve,mesh4x4 picks topologies.
accuracy:
	$(CARGO) test --locked --release --test accuracy -- --ignored --nocapture tables
	$(CARGO) test --locked --release --test monitor -- --ignored --nocapture --test-threads=1

# One run of them, printed: make look TOPOLOGY=unequal SEED=7 STRATEGY=mda LOSS=0.05 LIMIT=100 PROTOCOL=tcp
look:
	$(CARGO) test --locked --test accuracy -- --ignored --nocapture look

# Captures of real programs and kernel routers made anew, as root; needs the programs that the script names.
goldens:
	scripts/make-goldens

# docs/config.schema.json made anew of the types that read the configuration.
schema:
	WRITE_SCHEMA=1 $(CARGO) test --locked --lib config::schema::the_file

# deploy/kubernetes/base/prometheusrule.yaml made anew of deploy/prometheus/traceflow.rules.yaml.
manifests:
	scripts/make-prometheusrule >deploy/kubernetes/base/prometheusrule.yaml

# What each format of `trace --format` looks like, made anew; `git diff` shows what became of it.
pictures:
	UPDATE_GOLDENS=1 $(CARGO) test --locked --test pictures

# Every fuzz target for SECONDS, with cargo-fuzz. What they found before is replayed by `make test`.
SECONDS ?= 60
fuzz:
	scripts/fuzz $(SECONDS)

# What encoding, decoding, the engine and whole simulated discoveries cost; docs/performance.md has the figures.
# `make bench BENCH=--quick` takes a fraction of the time, `make bench BENCH=discovery/wide16` runs what has that in its name.
BENCH ?=
bench:
	$(CARGO) bench --locked --bench wire --bench engine --bench discovery -- $(BENCH)

clean:
	$(CARGO) clean
