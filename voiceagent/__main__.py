from voiceagent.cli.main import app

app()
