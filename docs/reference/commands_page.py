"""The page of the command line: every command of `voiceagent`, and `voiceagent-client`."""

import argparse
import functools
import re
import subprocess
import sys

from docs.reference import sources

INTRODUCTION = "# Command line\n\nGenerated from the commands themselves; `--help` shows the same.\n\n"


def page() -> str:
    """The whole page."""
    client = sources.client_command_line()
    client.formatter_class = functools.partial(argparse.HelpFormatter, width=100)
    return f"{INTRODUCTION}{_server()}\n## `{client.prog}`\n\n```text\n{client.format_help()}```\n"


def _server() -> str:
    """What Typer's own command writes of an application, one level of headings down."""
    command = [sys.executable, "-m", "typer", sources.COMMAND_LINE, "utils", "docs", "--name", "voiceagent"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return re.sub(r"^#", "##", done.stdout, flags=re.MULTILINE)
