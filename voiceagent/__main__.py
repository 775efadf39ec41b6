"""Entry point of `python -m voiceagent`."""

from voiceagent.cli.main import app

app()
