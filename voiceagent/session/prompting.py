"""What the agent does about silence: it asks whether the user is still there, and in the end says goodbye."""

from voiceagent.session.agent import Agent
from voiceagent.session.clock import now
from voiceagent.session.talk import Talk


class Prompting:
    def __init__(self, talk: Talk, agent: Agent) -> None:
        self._talk = talk
        self._agent = agent
        self._prompts = 0
        self._turns = 0

    async def check(self) -> float | None:
        """Speak when nothing has happened for long enough. Returns the seconds until it is to be
        asked again, None once goodbye has been said and the talk is over."""
        settings = self._talk.shared.settings.silence
        options = self._talk.options
        if settings.prompt_seconds == 0 or options.turn is None or options.listen_only:
            return float("inf")
        if self._talk.turns != self._turns:  # the user has spoken since
            self._turns, self._prompts = self._talk.turns, 0
        left = self._talk.active_at + settings.prompt_seconds - now()
        if left > 0:
            return left
        if self._prompts < settings.prompts:
            self._prompts += 1
            self._agent.say(settings.prompt)
            self._talk.touch()
            return settings.prompt_seconds
        goodbye = self._agent.say(settings.goodbye)
        await goodbye.over.wait()
        return None if self._talk.turns == self._turns else settings.prompt_seconds
