"""What goes back to a client of the proxy, and how it is counted."""

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from starlette.types import Send

from voiceagent.gateway.proxy.answer import Problem, encode, sse
from voiceagent.server.metrics import Observable

GONE, BROKEN_OFF = 499, 599
"""Counted where there is no HTTP status for it: the client hung up; the answer failed after it had begun."""


class ProxyResponse:
    """`id` names the request, `status` is what became of it."""

    def __init__(self, send: Send, request_id: str) -> None:
        self.id = request_id
        self.started = False
        self.status = 500
        self._send = send

    @property
    def answer_id(self) -> str:
        return f"chatcmpl-{self.id}"

    async def start(self, content_type: str, status: int = 200, retry_after: int = 0) -> None:
        self.started, self.status = True, status
        headers = {"content-type": content_type, "cache-control": "no-store", "x-request-id": self.id}
        if retry_after:
            headers["retry-after"] = str(retry_after)
        encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": encoded})

    async def body(self, data: bytes, more: bool = True) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": more})

    async def fail(self, problem: Problem) -> None:
        """An HTTP error; where the answer has begun, the stream's last event."""
        if self.started:
            self.status = BROKEN_OFF
            await self.body(sse(problem.body), more=False)
            return
        await self.start("application/json", problem.status, problem.retry_after)
        await self.body(encode(problem.body), more=False)


class ProxyMetrics:
    """The proxy's series, and the engine's own."""

    def __init__(self, engine: object) -> None:
        registry = self._registry = CollectorRegistry()
        self.in_flight = Gauge("voiceagent_proxy_in_flight", "Requests under way", registry=registry)
        self.requests = Counter(
            "voiceagent_proxy_requests_total",
            "Requests for a completion, by HTTP status; 499: the client hung up, 599: the answer broke off",
            ["status"],
            registry=registry,
        )
        self.loop_lag = Gauge(
            "voiceagent_loop_lag_seconds", "Longest delay of the event loop lately", registry=registry
        )
        if isinstance(engine, Observable):
            registry.register(engine)

    def page(self) -> tuple[bytes, str]:
        """The page and its content type."""
        return generate_latest(self._registry), CONTENT_TYPE_PLAIN_0_0_4
