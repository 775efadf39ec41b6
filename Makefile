# Everything a user or a developer does, from a fresh clone. Needs Python 3.11+ and make.
PYTHON ?= python3
BIN := .venv/bin
HERE := $(CURDIR)

.PHONY: install models demo serve assets docs test test-asterisk test-clients test-image coverage lint bench bench-capacity dist audit clean lock

install: .venv/.installed

# pip's own hash check makes the lock file binding; the project itself is installed without resolving anything again.
.venv/.installed: requirements.lock pyproject.toml client/pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e client -e .
	touch $@

models: install
	$(BIN)/voiceagent models fetch

demo: models
	$(BIN)/voiceagent demo

serve: models
	$(BIN)/voiceagent serve $(ARGS)

assets: install
	$(BIN)/python -m assets.make

# The documentation site, into out/site. Strict: a broken link or a setting without a meaning ends it.
docs: .venv/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet
	VOICEAGENT_SITE=out/site $(BIN)/pytest -q tests/test_docs.py

.venv/.docs: .venv/.installed docs/requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r docs/requirements.lock
	touch $@

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint models
	$(BIN)/pytest -n 2 --dist worksteal $(ARGS)

# Pipecat's and LiveKit's realtime services, in an environment of their own: too heavy for every run of the tests.
test-clients: models out/clients/.installed
	$(BIN)/pytest tests/clients/check_clients.py $(ARGS)

out/clients/.installed: tests/clients/requirements.txt
	$(PYTHON) -m venv out/clients
	out/clients/bin/python -m pip install --quiet --disable-pip-version-check -r tests/clients/requirements.txt
	touch $@

# Calls from a real telephone (baresip) through a real Asterisk; skipped, with the reason, where they are not installed.
test-asterisk: models
	VOICEAGENT_ASTERISK=1 $(BIN)/pytest -q -s -rs tests/channels/telephone/test_asterisk_calls.py $(ARGS)

# The container image, without Docker: the Dockerfile's instructions in an empty Debian (debootstrap, as root), then a spoken
# conversation with the server in it. Skipped, with the reason, where that cannot be.
test-image: models
	VOICEAGENT_IMAGE=1 $(BIN)/pytest -q -s -rs tests/test_image.py $(ARGS)

# Of what decides: ends of turns, barge-in, speculation. Only their own tests, in virtual time: tracing slows the others.
coverage: models
	$(BIN)/pytest -n 2 --dist worksteal -q tests/session tests/turn \
		tests/integration/test_every_protocol.py tests/channels/realtime/test_server*.py \
		--cov=voiceagent/turn --cov=voiceagent/session --cov-branch --cov-report=term --cov-fail-under=95

bench: models
	$(BIN)/python -m benchmarks

bench-capacity: models
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
	out/release/bin/pip-audit --strict --disable-pip --require-hashes -r requirements.lock

out/release/.installed: .github/release.lock
	$(PYTHON) -m venv out/release
	out/release/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r .github/release.lock
	touch $@

lock:
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --universal --generate-hashes --python-version 3.11 --no-annotate --no-header --no-emit-package voiceagent-client \
		--group dev pyproject.toml client/pyproject.toml -o requirements.lock

	$(BIN)/uv pip compile --universal --generate-hashes --python-version 3.11 --no-annotate --no-header \
		--group pyproject.toml:docs -c requirements.lock -o docs/requirements.lock
	$(BIN)/uv pip compile --universal --generate-hashes --python-version 3.11 --no-annotate --no-header \
		--group pyproject.toml:release -o .github/release.lock

clean:
	rm -rf .venv build dist out .mypy_cache .ruff_cache .pytest_cache
