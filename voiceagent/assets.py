"""Where the recordings and scenarios that come with the project lie."""

from pathlib import Path

_HERE = Path(__file__).parent

ASSETS = _HERE / "bundled" if (_HERE / "bundled").is_dir() else _HERE.parent / "assets"
"""In an installed package beside the code, in a checkout at the top."""
