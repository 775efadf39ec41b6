"""A real server in the test's own loop, on a free port."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from voiceagent.engines import Engines
from voiceagent.server.app import VoiceServer
from voiceagent.server.serve import listen, make_server
from voiceagent.settings import Settings

START_SECONDS = 60.0


@asynccontextmanager
async def running(settings: Settings, engines: Engines) -> AsyncIterator[tuple[VoiceServer, str]]:
    """The server and its WebSocket base URL such as `ws://127.0.0.1:4711`."""
    voice = VoiceServer(settings, engines)
    with listen("127.0.0.1", 0) as listener:
        server = make_server(voice)
        serving = asyncio.create_task(server.serve([listener]))
        try:
            async with asyncio.timeout(START_SECONDS):
                await server.listening.wait()
                await voice.loaded.wait()
            if voice.failure is not None:
                raise voice.failure
            yield voice, f"ws://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await serving
