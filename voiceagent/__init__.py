"""A runtime for real-time voice conversations: audio in, audio out, everything between streamed."""

import os

from voiceagent import device_client

__version__ = "0.1.0"

# onnxruntime 1.29 and later report usage unless told not to before their import; a voice server must not phone home.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

device_client.make_importable()
