"""A voice around another one, as all of them begin."""

from voiceagent.tts.base import TtsEngine


class TtsWrapper:
    """Opens, closes and is as its `engine` is; what it adds to `speak` is the subclass's."""

    def __init__(self, engine: TtsEngine) -> None:
        self.engine = engine

    @property
    def sample_rate(self) -> int:
        return self.engine.sample_rate

    async def open(self) -> None:
        await self.engine.open()

    async def close(self) -> None:
        await self.engine.close()


def innermost(engine: object) -> object:
    """The engine that speaks, without all that is around it."""
    while isinstance(engine, TtsWrapper):
        engine = engine.engine
    return engine
