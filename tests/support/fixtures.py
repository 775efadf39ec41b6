"""Fixtures that any test may ask for."""

import pytest

from voiceagent.models.catalogue import DEFAULT
from voiceagent.models.store import ModelStore


@pytest.fixture(scope="session")
def models() -> ModelStore:
    """The default models in this machine's store (`voiceagent models fetch`); without them the test skips."""
    store = ModelStore()
    missing = [name for name in DEFAULT if not store.installed(name)]
    if missing:
        pytest.skip(f"models not fetched: {', '.join(missing)}; run: voiceagent models fetch")
    return store
