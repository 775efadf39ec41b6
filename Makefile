# Everything a user or a developer does, from a fresh clone. Needs Python 3.11+ and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
export VOICEAGENT_VENV := $(abspath $(VENV))
HERE := $(CURDIR)

.PHONY: install develop models demo serve assets docs test test-install test-asterisk test-clients test-image coverage lint bench bench-capacity \
	dist audit clean lock

# What a talk on this machine needs; and all that developing and testing needs.
install:
	@$(PYTHON) scripts/install.py run

develop:
	@$(PYTHON) scripts/install.py dev

models: install
	$(BIN)/voiceagent models fetch

demo: models
	$(BIN)/voiceagent demo

serve: models
	$(BIN)/voiceagent serve $(ARGS)

assets: develop
	$(BIN)/python -m assets.make

# The documentation site, into out/site. Strict: a broken link or a setting without a meaning ends it.
docs: develop .venv/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet
	VOICEAGENT_SITE=out/site $(BIN)/pytest -q tests/test_docs.py

.venv/.docs: docs/requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r docs/requirements.lock
	touch $@

lint: develop
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/python scripts/check_layout.py
	$(BIN)/mypy

test: lint models
	$(BIN)/pytest -n 2 --dist worksteal $(ARGS)

# Every install line of the documents, in environments of their own, from the index: minutes, so not in `make test`.
test-install: develop models
	$(BIN)/pytest -q -rs tests/packaging/check_install.py $(ARGS)

# Pipecat's and LiveKit's realtime services, in an environment of their own: too heavy for every run of the tests.
test-clients: develop models
	@VOICEAGENT_VENV=out/clients $(PYTHON) scripts/install.py clients
	$(BIN)/pytest tests/clients/check_clients.py $(ARGS)

# Calls from a real telephone (baresip) through a real Asterisk; skipped, with the reason, where they are not installed.
test-asterisk: develop models
	VOICEAGENT_ASTERISK=1 $(BIN)/pytest -q -s -rs tests/channels/telephone/test_asterisk_calls.py $(ARGS)

# The container image, without Docker: the Dockerfile's instructions in an empty Debian (debootstrap, as root), then a spoken
# conversation with the server in it. Skipped, with the reason, where that cannot be.
test-image: develop models
	VOICEAGENT_IMAGE=1 $(BIN)/pytest -q -s -rs tests/test_image.py $(ARGS)

# Of what decides: ends of turns, barge-in, speculation. Only their own tests, in virtual time: tracing slows the others.
coverage: develop models
	$(BIN)/pytest -n 2 --dist worksteal -q tests/session tests/turn \
		tests/integration/test_every_protocol.py tests/channels/realtime/test_server*.py \
		--cov=voiceagent/turn --cov=voiceagent/session --cov-branch --cov-report=term --cov-fail-under=95

bench: develop models
	$(BIN)/python -m benchmarks

bench-capacity: develop models
	$(BIN)/python -m benchmarks.capacity

# Both wheels into dist/, checked, and the bill of materials of what they run with into out/sbom/.
dist: out/release/.installed
	rm -rf dist out/sbom && mkdir -p out/sbom
	out/release/bin/python -m build --quiet --no-isolation --wheel --outdir dist client
	out/release/bin/python -m build --quiet --no-isolation --wheel --outdir dist .
	out/release/bin/twine check --strict dist/*
	out/release/bin/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible \
		--output-file out/sbom/voiceagent.cdx.json requirements.lock

# What is known to be vulnerable among the locked packages; asks the package index about each of them.
audit: out/release/.installed
	out/release/bin/pip-audit --strict --disable-pip --require-hashes -r requirements.lock -r docker/requirements.lock

out/release/.installed: .github/release.lock
	$(PYTHON) -m venv out/release
	out/release/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r .github/release.lock
	touch $@

# Pins that still fit are kept; `make lock ARGS=--upgrade` takes the newest of everything.
COMPILE = $(BIN)/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-annotate --no-header \
	--no-emit-package voiceagent $(ARGS)
lock: develop
	$(COMPILE) --extra all --group dev pyproject.toml client/pyproject.toml -o requirements-dev.lock
	$(COMPILE) --extra local --extra client --extra eval --group build -c requirements-dev.lock pyproject.toml -o requirements.lock
	$(COMPILE) --extra local --extra codecs --extra telephone --extra mcp --extra redis --extra gateway --extra tracing --group build \
		-c requirements-dev.lock pyproject.toml -o docker/requirements.lock
	$(COMPILE) --group pyproject.toml:docs -c requirements-dev.lock -o docs/requirements.lock
	$(COMPILE) --group pyproject.toml:release -o .github/release.lock
	$(COMPILE) tests/clients/requirements.in -o tests/clients/requirements.lock

clean:
	rm -rf .venv build dist out .mypy_cache .ruff_cache .pytest_cache
