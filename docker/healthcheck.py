"""The health check of the image: exit code 0 when a session could begin now. Needs nothing but the standard library,
because it is run every half a minute."""

import json
import os
import ssl
import sys
import tomllib
import urllib.request
from pathlib import Path

CONFIG = Path("/config/agent.toml")
SECONDS = 5.0


def address() -> str:
    """Where the server says how it is. The environment wins over the file, as it does for the server."""
    table = tomllib.loads(CONFIG.read_text("utf-8")).get("server", {}) if CONFIG.is_file() else {}
    port = os.environ.get("VOICEAGENT_SERVER__PORT") or table.get("port", 8000)
    tls = os.environ.get("VOICEAGENT_SERVER__TLS_CERT") or table.get("tls_cert")
    return f"{'https' if tls else 'http'}://127.0.0.1:{port}/healthz"


def main() -> int:
    # The certificate is for the name that clients use; here the server is asked from within its own container.
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trusting))
    try:
        with opener.open(address(), timeout=SECONDS) as answer:
            return 0 if json.load(answer).get("status") == "ok" else 1
    except (OSError, ValueError) as error:  # refused, 503, no JSON, no TOML
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
