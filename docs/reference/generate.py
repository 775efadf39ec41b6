"""The reference pages, made from the code: a hook of MkDocs, which writes them before each build.

The pages are written beside this file and are not kept in the repository. `python -m docs.reference.generate` writes
them without building the site.
"""

import logging
from collections.abc import Iterator
from pathlib import Path

from docs.reference import api_pages, commands_page, metrics_page, realtime_page, session_page, settings_page

log = logging.getLogger("mkdocs.plugins.reference")
FOLDER = Path(__file__).parent

INDEX = """\
# Reference

Generated from the code at each build.

- [Settings](settings.md): every key of the configuration file.
- [Command line](commands.md): every command and option.
- [Sessions](session.md): the commands and events between a channel and a session.
- [Realtime events](realtime.md): the messages at `/v1/realtime`, our own in full.
- [Metrics](metrics.md): every series of `/metrics`.
- Python: [agents](api-agents.md), [engines](api-engines.md), [tools](api-tools.md), [the client](api-client.md).
"""


def pages() -> Iterator[tuple[str, str]]:
    """The name of each page's file and its text."""
    yield "index.md", INDEX
    yield "settings.md", settings_page.page()
    yield "commands.md", commands_page.page()
    yield "session.md", session_page.page()
    yield "realtime.md", realtime_page.page()
    yield "metrics.md", metrics_page.page()
    yield from api_pages.pages()


def write(folder: Path = FOLDER) -> None:
    """Write the pages, and only those that have changed, lest `mkdocs serve` build for ever."""
    for name, text in pages():
        path = folder / name
        if not path.is_file() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")


def on_pre_build(config: object) -> None:
    """Called by MkDocs. What is logged as a warning here ends a strict build."""
    write()
    for key in settings_page.unexplained():
        log.warning("the setting %s says nowhere what it means: put a text below it in its class", key)


if __name__ == "__main__":
    write()
