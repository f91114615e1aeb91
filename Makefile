# Two commands for everybody: `make run` and `make test`. Each installs what it needs (scripts/setup says what).

IMAGE ?=
PREFIX ?= /usr/local
DESTDIR ?=
RELEASE = .build-release
STATIC = $(CURDIR)/$(RELEASE)/static
# Stripped, and with what goes beyond glibc linked in: the helper is copied into sandboxes. libgcc_s stays outside, because
# glibc loads it itself when a thread ends.
BUILD_RELEASE = scripts/static-libraries "$(STATIC)" && swift build -c release --static-swift-stdlib -Xlinker -s \
	-Xswiftc "-L$(STATIC)" --scratch-path $(RELEASE)

SWIFT_FILES = Package.swift Sources Tests migrations $(wildcard Examples/*/Package.swift Examples/*/Sources) \
	Benchmarks/Package.swift Benchmarks/Sources

.PHONY: run build install uninstall release test test-long lint format bench clean

## run: build and turn an image into a snapshot: make run IMAGE=ghcr.io/acme/app:1.2
run:
	@scripts/setup run
	@$(BUILD_RELEASE)
	@scripts/run "$(IMAGE)"

## build: the programs, in .build-release/release
build:
	@scripts/setup run
	$(BUILD_RELEASE)

## install: programs, manual pages and completions, in PREFIX (/usr/local) under DESTDIR; `make build` comes before
install:
	PREFIX="$(PREFIX)" DESTDIR="$(DESTDIR)" scripts/install

uninstall:
	PREFIX="$(PREFIX)" DESTDIR="$(DESTDIR)" scripts/install --remove

## release: archives, a .deb, checksums and a bill of materials, in out/release
release: build
	scripts/release

## test: everything CI runs, apart from the lint
test:
	@scripts/setup test
	$(BUILD_RELEASE)
	scripts/release
	scripts/try-release
	scripts/try-package
	scripts/check-links
	SNAPWF_HOME="$(CURDIR)/out/state" scripts/run ""
	scripts/try-readme $(RELEASE)/release oci:$(CURDIR)/out/sample-image:latest
	swift build --build-tests
	scripts/docs
	Examples/Postcards/try.sh
	SNAPWF_BIN="$(CURDIR)/$(RELEASE)/release" scripts/test

## test-long: the random proofs at full size (hours): a million operations against the model, ten thousand kills, ten
## thousand stacks of layers against overlayfs, fuzzing, twenty thousand schedules of faults of a Sandbox API
test-long:
	@scripts/setup test
	swift build --build-tests
	SNAPWF_TEST_LONG=1 scripts/watch 14400 swift test --skip-build --no-parallel --filter "WorkflowTests|RootFSTests|EXT4Tests|FaultScheduleTests"

## lint: the style that CI insists on
lint:
	swift format lint --strict --recursive $(SWIFT_FILES)

format:
	swift format --in-place --recursive $(SWIFT_FILES)

## bench: each figure beside its peer, from one run, as text and in out/bench/*.json (half an hour)
bench:
	@scripts/setup bench
	@$(BUILD_RELEASE)
	@swift build -c release --package-path Benchmarks --scratch-path .build-bench
	@mkdir -p out/bench
	@scripts/bench --json out/bench/snapshot.json
	@scripts/bench-cli --json out/bench/cli.json
	@scripts/bench-serve --json out/bench/serve.json
	@scripts/bench-boot --json out/bench/boot.json
	@.build-bench/release/workflow-bench --dbos .build-bench-python/bin/python --postgres own --json out/bench/workflow.json
	@scripts/simulate-day --json out/bench/day.json

clean:
	rm -rf .build .build-release .build-bench .build-bench-python .build-peer-python out
