"""The pages of the Python API, which mkdocstrings fills from the docstrings of the modules named in `sources`."""

import importlib
from collections.abc import Iterator

from docs.reference import sources


def pages() -> Iterator[tuple[str, str]]:
    """The name of each page's file and its text."""
    for title, modules in sources.API.items():
        body = "\n".join(_directive(module) for module in modules)
        yield f"api-{title.lower()}.md", f"# {title}\n\n{body}"


def _directive(module: str) -> str:
    """A module with what it exports, or with everything public where it does not say."""
    exported = getattr(importlib.import_module(module), "__all__", None)
    members = "".join(f"        - {name}\n" for name in exported) if exported else "        []\n"
    chosen = f"      members:\n{members}" if exported or "." not in module else ""
    return f"::: {module}\n    options:\n      toc_label: {module}\n{chosen}"
