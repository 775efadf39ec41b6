# Everything a user or a developer does, from a fresh clone. Needs Python 3.11+ and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
export VOICEAGENT_VENV := $(abspath $(VENV))
HERE := $(CURDIR)

.PHONY: install develop models demo serve assets test test-install test-asterisk test-clients coverage lint bench bench-capacity clean lock

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

lint: develop
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
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
	VOICEAGENT_ASTERISK=1 $(BIN)/pytest -q -s -rs tests/test_asterisk.py $(ARGS)

# Of what decides: ends of turns, barge-in, speculation. Only their own tests, in virtual time: tracing slows the others.
coverage: develop models
	$(BIN)/pytest -n 2 --dist worksteal -q tests/test_session_*.py tests/test_turn_*.py tests/test_conversation.py tests/test_heard.py \
		tests/test_every_protocol.py tests/test_server_realtime*.py \
		--cov=voiceagent/turn --cov=voiceagent/session --cov-branch --cov-report=term --cov-fail-under=95

bench: develop models
	$(BIN)/python -m benchmarks

bench-capacity: develop models
	$(BIN)/python -m benchmarks.capacity

# Pins that still fit are kept; `make lock ARGS=--upgrade` takes the newest of everything.
COMPILE = $(BIN)/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-annotate --no-header \
	--no-emit-package voiceagent $(ARGS)
lock: develop
	$(COMPILE) --extra all --group dev pyproject.toml client/pyproject.toml -o requirements-dev.lock
	$(COMPILE) --extra local --extra client --extra eval --group build -c requirements-dev.lock pyproject.toml -o requirements.lock
	$(COMPILE) tests/clients/requirements.in -o tests/clients/requirements.lock

clean:
	rm -rf .venv build dist out .mypy_cache .ruff_cache .pytest_cache
