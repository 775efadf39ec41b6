# mypy: ignore-errors
"""LiveKit's agent session with its OpenAI Realtime model, without a room: voice, text, tool and barge-in turns."""

import asyncio
import json
import time

from livekit import rtc
from livekit.agents import Agent, AgentSession, function_tool
from livekit.agents.voice.io import AudioInput, AudioOutput, AudioOutputCapabilities
from livekit.plugins.openai.realtime import RealtimeModel
from stage import PIECE_BYTES, RATE, Log, Microphone, tell, wanted


class Ears(AudioInput):
    """The microphone."""

    def __init__(self, microphone):
        super().__init__(label="microphone")
        self._pieces = microphone.pieces()

    async def __anext__(self):
        return rtc.AudioFrame(await anext(self._pieces), RATE, 1, PIECE_BYTES // 2)


class Mouth(AudioOutput):
    """A loudspeaker that plays at the pace of real time, and tells how far it came."""

    def __init__(self):
        super().__init__(label="loudspeaker", capabilities=AudioOutputCapabilities(pause=False), sample_rate=RATE)
        self._start = None
        self._length = 0.0
        self._end = None

    async def capture_frame(self, frame):
        await super().capture_frame(frame)
        if self._start is None:
            self._start, self._length = time.time(), 0.0
            self.on_playback_started(created_at=self._start)
        self._length += frame.duration

    def flush(self):
        super().flush()
        if self._start is not None:
            left = self._start + self._length - time.time()
            self._end = asyncio.get_running_loop().call_later(max(0.0, left), self._finish, False)

    def clear_buffer(self):
        if self._start is not None:
            self._finish(True)

    def _finish(self, interrupted):
        if self._end is not None:
            self._end.cancel()
        played = min(self._length, time.time() - self._start)
        self._start = self._end = None
        if interrupted:
            tell(seen="interrupted")
        self.on_playback_finished(playback_position=played, interrupted=interrupted)


class Helper(Agent):
    def __init__(self):
        super().__init__(instructions="Be brief.")

    @function_tool
    async def get_weather(self, city: str) -> str:
        """Tells the weather of a city."""
        tell(seen="tool", name="get_weather", result=f"rain in {city}")
        return f"rain in {city}"


async def main():
    log, microphone = Log(), Microphone()
    model = RealtimeModel(base_url=f"http://{wanted['address']}", model="gpt-realtime", api_key="none")
    session = AgentSession(llm=model, vad=None)
    session.input.audio, session.output.audio = Ears(microphone), Mouth()
    session.on("error", lambda event: tell(error=str(event.error)))
    agent = Helper()
    await session.start(agent, record=False)
    agent.realtime_llm_session.on(
        "openai_server_event_received", lambda event: log.add(event if isinstance(event, dict) else json.loads(event))
    )
    tell(turn="voice")
    microphone.say("question")
    await log.next("response.done")
    await session.current_speech.wait_for_playout() if session.current_speech else None
    tell(turn="text")
    await session.generate_reply(user_input="Hello!")
    tell(turn="tool")
    await session.generate_reply(user_input="What is the weather in Bonn?")
    tell(turn="barge-in")
    session.generate_reply(user_input="Tell me all about the moon.")
    await log.next("response.output_audio.delta")
    await asyncio.sleep(0.8)
    microphone.say("stop")
    await log.next("conversation.item.truncated")
    await log.until("response.done", log.count("response.created") + 1)
    tell(history=[item.model_dump(mode="json") for item in session.history.items])
    await session.aclose()


asyncio.run(main())
