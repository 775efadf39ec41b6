"""The device client, which `talk`, `demo` and `eval` use: the package `voiceagent-client` where it is installed, else
the copy in our wheel. So `pip install voiceagent` asks no index for a second package, and no file belongs to both."""

import sys
from importlib.util import find_spec
from pathlib import Path

COPY = Path(__file__).parent / "bundled" / "client"
"""Only in an installed wheel."""


def make_importable() -> None:
    """See to it that `voiceagent_client` can be imported."""
    if find_spec("voiceagent_client") is None and COPY.is_dir():
        sys.path.append(str(COPY))
