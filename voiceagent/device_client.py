"""The device client, which `talk`, `demo` and `eval` use: the package `voiceagent-client` where it is installed, else
the copy in our wheel. So `pip install voiceagent` asks no index for a second package, and no file belongs to both."""

import sys
from importlib.util import find_spec
from pathlib import Path

_HERE = Path(__file__).parent

COPY = _HERE / "bundled" / "client" if (_HERE / "bundled").is_dir() else _HERE.parent / "client"
"""In an installed package beside the code, in a checkout at the top."""


def make_importable() -> None:
    """See to it that `voiceagent_client` can be imported."""
    if find_spec("voiceagent_client") is None and COPY.is_dir():
        sys.path.append(str(COPY))
