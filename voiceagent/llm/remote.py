"""Any language model behind HTTP: one request, one streamed answer, in whatever dialect."""

import asyncio
import json
import logging
import re
import time
from collections.abc import AsyncGenerator, Collection, Mapping
from contextlib import AsyncExitStack
from types import MappingProxyType

import httpx
from pydantic import JsonValue

from voiceagent.errors import EngineError, at_endpoint
from voiceagent.llm.base import LlmEvent, LlmRequest
from voiceagent.llm.dialects.base import Answer, Dialect, merged
from voiceagent.llm.dialects.markup import Habits
from voiceagent.llm.dialects.refused_tools import key, refused_tool, without_tools
from voiceagent.llm.http import HttpClient, HttpOptions, Pieces, as_engine_errors, start_of
from voiceagent.llm.refusal import status_error

logger = logging.getLogger(__name__)

ENDING_SECONDS = 1.0
"""How long to wait for the usage once the answer is whole."""
DRAIN_SECONDS = 0.1
"""How long to wait for the end of the response after the stream's own end mark."""
MOST_REFUSED_TOOLS = 500
MENDABLE = (400, 422)
"""What servers answer to a field that they do not know."""
_ROLES = re.compile(rb"(?i)\broles?\b|jinja|chat template")
"""In what llama.cpp calls an error of its own."""
NO_EXTRA: Mapping[str, JsonValue] = MappingProxyType({})


class RemoteLlm:
    """Streams answers over HTTP. Its connections belong to the event loop it was opened on.

    A server that refuses an optional field is asked again without, and that is remembered.
    """

    def __init__(self, options: HttpOptions, dialect: Dialect, habits: Habits | None = None) -> None:
        """`habits` is what is known of the model's way to write beforehand."""
        self._options = options
        self._dialect = dialect
        self._http = HttpClient(options)
        self._habits = habits or Habits()
        self._refused_tools: list[str] = []

    @property
    def address(self) -> dict[str, str]:
        """Whom it asks: `base_url` and `model`."""
        return {"base_url": self._options.base_url, "model": self._options.model}

    @property
    def talk_tokens(self) -> None:
        """The endpoint's own business; `[memory] tokens` is the limit."""
        return None

    async def open(self) -> None:
        """Connect. An endpoint that is down now only costs a line in the log. Raises ConfigError."""
        await self._http.open(self._dialect.headers(self._options.key()), self._dialect.probe)

    async def reply(
        self, request: LlmRequest, extra_body: Mapping[str, JsonValue] = NO_EXTRA
    ) -> AsyncGenerator[LlmEvent, None]:
        """Stream one answer. `extra_body` is for this request what the option of that name is for all. Closing the
        generator ends the HTTP stream at once. Raises EngineError."""
        options = self._options
        deadline = time.monotonic() + options.first_token_seconds
        async with AsyncExitStack() as stack:
            stack.enter_context(at_endpoint(self._http.host))
            with as_engine_errors():
                async with asyncio.timeout(options.first_token_seconds):
                    pieces = await self._accepted(stack, request, merged(options.extra_body, extra_body))
            answer = Answer(self._dialect.reader(), _callable(request), self._habits)
            while (piece := await _next_piece(pieces, answer, deadline)) is not None:
                for event in answer.feed(piece):
                    yield event
                    deadline = time.monotonic() + options.next_token_seconds
            for event in answer.finish():
                yield event

    async def close(self) -> None:
        await self._http.close()

    def _keep_refused(self, tools: Collection[str]) -> None:
        """The newest ones, as clients may bring any number."""
        self._refused_tools += [tool for tool in tools if tool not in self._refused_tools]
        del self._refused_tools[:-MOST_REFUSED_TOOLS]

    async def _accepted(self, stack: AsyncExitStack, request: LlmRequest, extra: Mapping[str, JsonValue]) -> Pieces:
        """The body of the response to an accepted request, which `stack` closes."""
        dialect, refused = self._dialect, ""
        refused_tools = set(self._refused_tools)
        while True:
            request = without_tools(request, refused_tools)
            body = merged(dialect.body(request), extra)
            async with AsyncExitStack() as exchange:
                response, pieces = await exchange.enter_async_context(self._http.post(dialect.url, _encoded(body)))
                if response.is_success:
                    if refused:
                        logger.warning("language model at %s does not take %s", self._http.host, refused)
                        self._dialect = dialect
                        self._keep_refused(refused_tools)
                    stack.push_async_exit(exchange.pop_all())
                    return pieces
                refusal = await start_of(pieces)
            status = response.status_code
            about_roles = status == httpx.codes.INTERNAL_SERVER_ERROR and _ROLES.search(refusal)
            if status in MENDABLE and (tool := refused_tool(refusal, request.tools, refused_tools)) is not None:
                refused = f"the tool {tool.name!r} with its schema"
                refused_tools.add(key(tool))
                continue
            mended = dialect.mended(refusal, body) if status in MENDABLE or about_roles else None
            if mended is None:
                raise status_error(response.status_code, response.headers, refusal)
            refused, dialect = mended


def _encoded(body: Mapping[str, JsonValue]) -> bytes:
    """A lone surrogate becomes a question mark."""
    return json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")


async def _next_piece(pieces: Pieces, answer: Answer, deadline: float) -> bytes | None:
    """More of the body, or None at its end. Once the answer is whole, what goes wrong after it does not matter:
    the rest is only read for the usage, and to keep the connection."""
    left = deadline - time.monotonic()
    if answer.ended:
        left = DRAIN_SECONDS
    elif answer.ending:
        left = ENDING_SECONDS if answer.surely_ending else min(left, 2 * ENDING_SECONDS)
    try:
        with as_engine_errors():
            async with asyncio.timeout(left):
                return await anext(pieces, None)
    except EngineError as error:
        if answer.ending or (error.code == "timeout" and answer.may_end):
            return None
        raise


def _callable(request: LlmRequest) -> frozenset[str]:
    return frozenset(tool.name for tool in request.tools) if request.tool_choice != "none" else frozenset()
