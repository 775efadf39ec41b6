# Everything a user or a developer does, from a fresh clone. Needs Python 3.11+ and make.
PYTHON ?= python3
BIN := .venv/bin
HERE := $(CURDIR)

.PHONY: install models demo serve assets test test-asterisk test-clients coverage lint bench bench-capacity clean lock

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

# Of what decides: ends of turns, barge-in, speculation. Only their own tests, in virtual time: tracing slows the others.
coverage: models
	$(BIN)/pytest -n 2 --dist worksteal -q tests/session tests/turn \
		tests/integration/test_every_protocol.py tests/channels/realtime/test_server*.py \
		--cov=voiceagent/turn --cov=voiceagent/session --cov-branch --cov-report=term --cov-fail-under=95

bench: models
	$(BIN)/python -m benchmarks

bench-capacity: models
	$(BIN)/python -m benchmarks.capacity

lock:
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --universal --generate-hashes --python-version 3.11 --no-annotate --no-header --no-emit-package voiceagent-client \
		--group dev pyproject.toml client/pyproject.toml -o requirements.lock

clean:
	rm -rf .venv build dist out .mypy_cache .ruff_cache .pytest_cache
