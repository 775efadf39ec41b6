"""A voice of one's own: an engine is any object with the methods of its interface. This one plays a tone a word.

    voiceagent serve examples/custom_engine.py --open

The same class can be named in a configuration, as `[tts] engine = "examples.custom_engine:TonesTts"`.
"""

from collections.abc import AsyncGenerator

import numpy as np
from pydantic import BaseModel

from voiceagent import Agent, TtsAudio, TtsRequest

RATE = 24_000


class TonesTts:
    """Speaks in tones, higher for longer words."""

    class Options(BaseModel):
        """What stands in the table `[tts]` beside `engine`."""

        hertz: float = 220.0
        """The tone of a word of one letter."""
        seconds: float = 0.12
        """How long a word lasts."""

    sample_rate = RATE

    def __init__(self, options: Options | None = None, models: object = None) -> None:
        self._options = options or self.Options()

    async def open(self) -> None:
        """Load what takes time here: the server tells that it is loading."""

    async def speak(self, request: TtsRequest) -> AsyncGenerator[TtsAudio, None]:
        """A piece of audio for each word, as soon as it is there."""
        seconds = self._options.seconds / request.speed
        time = np.arange(int(RATE * seconds)) / RATE
        for word in request.text.split():
            wave = np.sin(2 * np.pi * self._options.hertz * len(word) * time) * np.hanning(len(time))
            yield TtsAudio((wave * 12_000).astype(np.int16))

    async def close(self) -> None:
        """Let go of what `open` took."""


agent = Agent(tts=TonesTts(TonesTts.Options(hertz=330)))

if __name__ == "__main__":
    agent.serve(port=8000)
