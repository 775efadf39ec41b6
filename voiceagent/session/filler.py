"""What is said to fill a silence of the agent's: in the talk's language and voice, never the same twice in a row."""

import asyncio

from voiceagent.session.context import SessionContext
from voiceagent.session.phrases import Fillers, Phrase, SpeakingStyle


class FillerSpeech:
    def __init__(self, talk: SessionContext) -> None:
        self._talk = talk
        self._latest = ""
        self._preparing: asyncio.Task[None] | None = None

    @property
    def after(self) -> float | None:
        """Seconds without the model's first word after which something is said; None: never."""
        after_ms = self._talk.shared.settings.filler.after_ms
        return after_ms / 1000 if after_ms and self._talk.shared.fillers is not None else None

    def prepare(self) -> None:
        """Have the phrases ready by the time one is wanted. Those of an earlier voice are given up."""
        fillers = self._talk.shared.fillers
        if fillers is not None and (self.after is not None or self._talk.shared.toolbox):
            if self._preparing is not None:
                self._preparing.cancel()
            self._preparing = self._talk.tasks.create_task(fillers.prepare(self._manner(fillers)), name="fillers")

    def next(self) -> Phrase | None:
        """What to say now; None where nothing is ready."""
        fillers = self._talk.shared.fillers
        if fillers is None:
            return None
        phrase = fillers.after(self._manner(fillers), self._latest)
        if phrase is None:
            self.prepare()
        else:
            self._latest = phrase.text
        return phrase

    def _manner(self, fillers: Fillers) -> SpeakingStyle:
        options, agent = self._talk.options, self._talk.shared.settings.agent
        language = fillers.language(options.language, agent.language, words=self._talk.latest_words())
        return SpeakingStyle(language, options.output_rate, options.voice, options.speed)
