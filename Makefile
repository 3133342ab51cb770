# Two commands do everything on a fresh Debian or Ubuntu with Python, make, and either root or a Docker engine:
#   make demo    the whole migration, rehearsed on real brokers with real Celery producers and workers
#   make test    lint, types, unit tests with the core's coverage, then every test that needs real brokers
# `make setup` makes .venv with .venv/bin/bridge and nothing else. ARGS goes to the command: make demo ARGS="--new 4.3 --json"

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.SILENT:
.DEFAULT_GOAL := help
.PHONY: help setup brokers demo lint unit fuzz docs guard guard-update metrics profile real browser long test bench faults soak image screenshots clean

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
# What only this Makefile installs; their versions are in constraints.txt like all others.
BUILD_BACKEND := hatchling
SAMPLER := py-spy
ARGS ?=

help:
	sed -n 's/^#   //p' Makefile
	echo "also: setup, docs, unit, guard and fuzz (no broker needed), profile, real (broker tests only), long, lint, bench, faults, soak, clean"

setup: $(STAMP)

# Brought up to date when the declared dependencies change; an interrupted first run leaves no stamp and starts over.
$(STAMP): pyproject.toml constraints.txt
	say() { printf 'setup: %s\n' "$$*" >&2; }
	command -v "$(PYTHON)" >/dev/null || { say "$(PYTHON) not found: install Python 3.11 or newer, or name one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
	    say "$(PYTHON) is $$("$(PYTHON)" -V 2>&1), Python 3.11 or newer is needed; name one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	if ! "$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null; then
	    package="$$("$(PYTHON)" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"
	    if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
	        say "installing $$package, which $(PYTHON) needs to make a virtual environment"
	        apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$$package" >/dev/null
	    else
	        say "$(PYTHON) cannot make a virtual environment: its modules venv and ensurepip are missing"
	        say "on Debian and Ubuntu: sudo apt-get install $$package"; exit 1
	    fi
	fi
	say "bringing .venv to what constraints.txt names (about a minute when it is new)"
	[ -e $(STAMP) ] || "$(PYTHON)" -m venv --clear .venv
	$(BIN)/python -m pip install -qq --no-input --disable-pip-version-check -c constraints.txt $(BUILD_BACKEND) || {
	    say "the Python packages could not be fetched: is the package index reachable (pip's message is above)?"; exit 1; }
	$(BIN)/python -m pip install -qq --no-input --disable-pip-version-check -c constraints.txt --no-build-isolation -e '.[lab,dev]' || {
	    say "the Python packages could not be installed (pip's message is above)"; exit 1; }
	touch $(STAMP)
	say "done: $(BIN)/bridge"

# Real brokers come from Docker where an engine answers, else from Debian's packages, which takes root.
brokers: $(STAMP)
	$(BIN)/python -c 'import docker; docker.from_env(timeout=10).ping()' 2>/dev/null && exit 0
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then exit 0; fi
	printf '%s\n' "no real brokers possible here: no Docker engine answers (DOCKER_HOST or the local socket), and $$(id -un) is not root on Debian or Ubuntu" \
	    "start a Docker engine, or run as root (sudo make $(MAKECMDGOALS)); \`make unit\` runs what needs no broker" >&2
	exit 1

demo: brokers
	exec $(BIN)/bridge lab rehearse $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

# Unit tests; the core must reach 100 % of its branches by them alone.
unit: $(STAMP)
	command -v systemd-analyze >/dev/null || { $(call needs,systemd); }
	$(BIN)/pytest tests/unit -n 2 --cov --cov-report=term $(ARGS)

# Writes the pages that are made from the code; a unit test says when they are not current.
docs: $(STAMP)
	exec $(BIN)/python -m tests.docs

# Made-up headers, deliveries, answers and bodies through the core: make fuzz ARGS="--cases 100000 --seed 2"
fuzz: $(STAMP)
	exec $(BIN)/python -m tests.fuzz $(ARGS)

# Programs that count and trace come from Debian's packages, where they are missing: $(call needs,valgrind strace)
needs = missing=""; for tool in $(1); do command -v $$tool >/dev/null || missing="$$missing $$tool"; done; \
	if [ -n "$$missing" ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	printf 'installing%s\n' "$$missing" >&2; \
	{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $$missing >/dev/null; } || \
	printf 'could not be installed:%s (the message is above)\n' "$$missing" >&2; fi

# What a message costs the core, in instructions, beside the figures that are kept (docs/contributing.md).
guard: $(STAMP)
	$(call needs,valgrind)
	$(BIN)/pytest -q tests/guard tests/profiling
	exec $(BIN)/python -m tests.guard $(ARGS)

# Keeps what is counted now; ARGS="--python PROGRAM --python PROGRAM" counts with these.
guard-update: $(STAMP)
	$(call needs,valgrind)
	exec $(BIN)/python -m tests.guard --update $(ARGS)

# Where time goes in the daemon while it drains a backlog on real brokers; ARGS="--core": in the core alone, without any.
profile: $(STAMP)
	$(call needs,strace)
	$(BIN)/python -m pip install -qq --no-input --disable-pip-version-check -c constraints.txt $(SAMPLER)
	exec $(BIN)/python -m tests.profiling $(ARGS)

# Alert rules and dashboard, as promtool judges them. It is taken out of Debian's package prometheus, which is not installed: its service
# would start.
metrics: $(STAMP)
	if ! command -v promtool >/dev/null && [ ! -x build/promtool ] && command -v apt-get dpkg-deb >/dev/null; then
	    folder="$$(mktemp -d)"
	    mkdir -p build
	    { [ "$$(id -u)" != 0 ] || apt-get update -qq; (cd "$$folder" && apt-get download -qq -o APT::Sandbox::User=root prometheus >/dev/null) && \
	    dpkg-deb --fsys-tarfile "$$folder"/prometheus_*.deb | tar -xOf - ./usr/bin/promtool > build/promtool && chmod +x build/promtool; } || \
	    { rm -f build/promtool; printf 'metrics: promtool could not be fetched (the message is above)\n' >&2; }
	    rm -rf "$$folder"
	fi
	exec $(BIN)/pytest -q tests/metrics

# On real brokers. Most tests wait for a second to pass, so several files run beside each other, each with brokers of its own; what breaks
# brokers runs two at a time, and what measures times runs alone.
real: brokers
	$(BIN)/pytest tests/functional tests/e2e tests/docs -m "not long and not alone" -n 4 --dist loadfile $(ARGS)
	$(BIN)/pytest tests/faults -m "not long" -n 2 --dist load $(ARGS)
	$(MAKE) --no-print-directory browser
	exec $(BIN)/pytest tests/e2e -m "not long and alone" $(ARGS)

# The page in Debian's Chromium.
browser: brokers
	$(call needs,chromium)
	exec $(BIN)/pytest tests/browser -m "not long" -n 2 --dist loadfile $(ARGS)

# What `real` leaves out: the same tests in more worlds, and the slower faults, as tests.
long: brokers
	exec $(BIN)/pytest tests/functional tests/e2e tests/faults tests/docs tests/browser -m long $(ARGS)

# Builds the image and runs it, and boots the unit under a systemd of its own: debootstrap, buildah, crun, systemd-nspawn; ten minutes.
image: brokers
	command -v systemd-nspawn >/dev/null || { $(call needs,systemd-container); }
	$(call needs,debootstrap buildah crun)
	exec $(BIN)/pytest tests/image -rA $(ARGS)

test: brokers
	$(MAKE) --no-print-directory lint
	$(MAKE) --no-print-directory unit ARGS=
	$(MAKE) --no-print-directory metrics
	$(MAKE) --no-print-directory guard ARGS=
	$(MAKE) --no-print-directory real

# Two hours or so when it is not told what to measure (docs/reference/bench.md).
bench: brokers
	exec $(BIN)/python -m tests.bench $(ARGS)

# Every fault in every world, about an hour; the table of docs/explanation/guarantees-table.md is what it prints. ARGS="--only cut --world 3.10,4.3"
# plays some. Then those of a target of three nodes.
faults: brokers
	$(BIN)/python -m tests.faults $(ARGS)
	exec $(BIN)/pytest tests/faults/test_cluster.py -m long

# Random faults beside live Celery traffic for 30 minutes (docs/reference/soak.md); the last of an option counts, so ARGS may change them.
soak: brokers
	$(BIN)/pytest -q tests/soak
	exec $(BIN)/python -m tests.soak --minutes 30 --seed 1 $(ARGS)

# The pictures of the docs: of the terminal from real daemons on real brokers, of the page from made-up queues.
screenshots: brokers
	$(call needs,chromium pngquant)
	BRIDGE_SCREENSHOTS=1 $(BIN)/pytest -q tests/e2e/test_watch.py tests/browser/test_pictures.py -k picture

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage build dist
