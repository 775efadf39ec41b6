"""Routes of the page for browsers: `/`, and its parts under `/web/`. The page uses `/v1/realtime` like any client."""

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from voiceagent.assets import ASSETS
from voiceagent.channels.channel import Channel, ChannelHost
from voiceagent.channels.web.settings import PageSection

WEB = ASSETS / "web"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".json": "application/json",
}
SECURITY = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "permissions-policy": "microphone=(self), camera=(), geolocation=()",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
"""Nothing from elsewhere, no script in the markup, in nobody's frame, no sensor but the microphone."""


@dataclass(frozen=True, slots=True)
class File:
    """A file as it is served, whole and packed; `tag` changes with its content."""

    content_type: str
    body: bytes
    packed: bytes
    tag: str

    @staticmethod
    def of(suffix: str, body: bytes) -> "File":
        # Weak, since it stands for the packed bytes as well.
        tag = f'W/"{hashlib.sha256(body).hexdigest()[:24]}"'
        return File(TYPES[suffix], body, gzip.compress(body, mtime=0), tag)

    def answer(self, request: Request) -> Response:
        """Browsers keep it and ask each time whether it is still the same."""
        headers = {**SECURITY, "etag": self.tag, "cache-control": "no-cache", "vary": "accept-encoding"}
        known = request.headers.get("if-none-match", "")
        if self.tag in (tag.strip() for tag in known.split(",")):
            return Response(status_code=304, headers=headers)
        headers["content-type"] = self.content_type
        if "gzip" not in request.headers.get("accept-encoding", ""):
            return Response(self.body, headers=headers)
        return Response(self.packed, headers={**headers, "content-encoding": "gzip"})


def channel(host: ChannelHost, page: PageSection) -> Channel:
    if not page.enabled:
        return Channel()
    files = {path.name: File.of(path.suffix, path.read_bytes()) for path in WEB.iterdir() if path.suffix in TYPES}
    files["config.json"] = File.of(".json", config(page, key_required=host.keys_required))

    async def index(request: Request) -> Response:
        return files["index.html"].answer(request)

    async def part(request: Request) -> Response:
        file = files.get(request.path_params["name"])
        return file.answer(request) if file else Response("not found", 404, SECURITY, "text/plain")

    return Channel(routes=[Route("/", index), Route("/web/{name}", part)])


def config(page: PageSection, *, key_required: bool) -> bytes:
    """What the page asks for first: whom one may talk to, in which languages, and whether that takes a key."""
    agents = [agent.model_dump() for agent in page.agents]
    return msgspec.json.encode({"agents": agents, "languages": page.languages, "key_required": key_required})


def size(folder: Path = WEB) -> int:
    """Bytes of all files the page may load."""
    return sum(path.stat().st_size for path in folder.iterdir())
