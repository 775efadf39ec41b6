"""Model hub: fetches single files over HTTP, for when the package index cannot be reached."""

from pathlib import Path

import httpx

from voiceagent.errors import ConfigError
from voiceagent.models.pip import Progress

TIMEOUT = httpx.Timeout(30.0)
"""Seconds to connect, and between two pieces of the file."""


def download(url: str, path: Path, progress: Progress) -> None:
    """Write what the address offers to a new file. Raises ConfigError when it does not come."""
    try:
        with (
            httpx.stream("GET", url, follow_redirects=True, timeout=TIMEOUT) as response,
            path.open("wb") as file,
        ):
            response.raise_for_status()
            total = int(response.headers.get("content-length", "0"))
            for piece in response.iter_bytes():
                file.write(piece)
                progress(response.num_bytes_downloaded, total)
    except httpx.HTTPStatusError as error:
        raise ConfigError(f"{error.request.url.host} answered {error.response.status_code}") from None
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise ConfigError(f"{httpx.URL(url).host} could not be read ({type(error).__name__})") from None
