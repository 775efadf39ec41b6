"""Response manager: the agent's side of a session, its responses from the prompt to what was heard of them."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import replace

from voiceagent.audio.pcm import Pcm
from voiceagent.audio.playout import Playout
from voiceagent.audio.reference import PlaybackReference
from voiceagent.errors import EngineError, Refused
from voiceagent.llm.base import LlmRequest
from voiceagent.session.commands import CreateResponse
from voiceagent.session.context import Dialogue, SessionContext, SessionResources
from voiceagent.session.events import Event, ResponseAudio, ResponseDone, ResponsePlayed, ResponseReason, TurnTimed
from voiceagent.session.generation import ResponsePlan
from voiceagent.session.phrases import FillerSpeech, Phrase
from voiceagent.session.prompt import PromptBuilder
from voiceagent.session.response import Response
from voiceagent.session.spoken_text import SpokenText
from voiceagent.session.timeline import now
from voiceagent.session.tool_calls import ResultsDelayed, ResultsReady, ToolCalls, ToolEvent
from voiceagent.session.tools import SessionTools

log = logging.getLogger(__name__)

RESPONSES_KEPT = 8
"""Responses of which a late report of what was played is still understood."""
RECENT_CHARS = 100
"""About six seconds of speech: what an echo in the microphone may consist of."""


class ResponseManager:
    def __init__(
        self, context: SessionContext, resources: SessionResources, dialogue: Dialogue, tools: SessionTools
    ) -> None:
        settings = resources.settings
        self._context = context
        self._dialogue = dialogue
        self._engines = resources.engines
        self._apology = resources.apology
        self._deadlines = settings.deadlines
        self._playout_settings = settings.playout
        self._prompts = PromptBuilder(context, dialogue, tools, settings.prompt, resources.engines.llm)
        self.clock = Playout(self._lead, settings.playout.held_back_ms / 1000)
        """What the client has played, of all responses."""
        self._reference = PlaybackReference()
        self._spoken: OrderedDict[str, SpokenText] = OrderedDict()
        self._responses: list[Response] = []  # the last is the current one; one before it may still be being played
        self._next: Response | None = None  # the answer to a tool's result, until it can be released
        self._tool_rounds = settings.tool_rounds
        self.calls = ToolCalls(
            context,
            dialogue,
            tools,
            resources.toolbox,
            self._prompts,
            rounds=settings.tool_rounds,
            emit=self._on_tools,
        )
        self._fillers = FillerSpeech(
            resources.fillers,
            settings.filler,
            options=context.options,
            language=settings.language,
            has_tools=bool(resources.toolbox),
            tasks=context.tasks,
        )
        self.played_out = asyncio.Event()
        """Set when the client has played a response to its end."""

    @property
    def current(self) -> Response | None:
        """The response that is being generated, sent or played."""
        return self._responses[-1] if self._responses else None

    @property
    def active(self) -> Response | None:
        """The response of which more is to be sent."""
        return self.current if self.current is not None and self.current.active else None

    @property
    def answering_results(self) -> bool:
        """Whether the answer to what was called is being sent, or is about to be."""
        return self._next is not None or (self.active is not None and self.active.plan.rounds > 0)

    @property
    def busy(self) -> bool:
        """Whether the agent talks, or is about to: a voice does not interrupt it for nothing."""
        return bool(self._responses) or self._next is not None or self.calls.running

    @property
    def protected(self) -> bool:
        """Whether the agent says something that no voice may interrupt."""
        return any(response.plan.protected for response in self._responses)

    def configure(self) -> None:
        """The options have changed."""
        self.clock.lead = self._lead
        self._fillers.configure(self._context.options, self._dialogue.latest_words())

    # -- responses --------------------------------------------------------------------------------------------------

    def prepare(
        self,
        request: CreateResponse,
        *,
        user_item_id: str | None = None,
        user_text: str = "",
        speculative: bool = False,
        failure: EngineError | None = None,
        after: Callable[[], Awaitable[None]] | None = None,
        phrase: Phrase | None = None,
        rounds: int = 0,
    ) -> Response:
        """Begin to generate a response that nobody hears until it is released. `user_text` is a turn that is not yet in
        the conversation. `after` is waited for before the prompt is built and may raise EngineError: the user's words
        may still be on their way. For the others see `ResponsePlan`."""
        context = self._context
        options = context.options
        asks_model = request.words is None and phrase is None and failure is None
        modality = request.modality or options.modality
        frame_ms = options.frame_ms or self._playout_settings.frame_ms
        plan = ResponsePlan(
            session_id=context.id,
            response_id=context.new_id("resp"),
            item_id=context.new_id("item"),
            request=request,
            build_prompt=self._prompt_of(request, user_text, speculative, after, asks_model),
            modality=modality,
            rate=options.output_rate,
            frame=max(1, options.output_rate * frame_ms // 1000),
            apology=self._apology,
            fillers=self._fillers,
            max_tokens=request.max_output_tokens or options.max_output_tokens,
            voice=options.voice,
            language=options.language,
            speed=options.speed,
            user_item_id=user_item_id,
            rounds=rounds,
            last=rounds >= self._tool_rounds,
            answered=lambda: self._dialogue.answered(request.input),
            client_tools=frozenset(tool.name for tool in self._prompts.offer(request).client),
            phrase=phrase,
            failure=failure,
            filler_seconds=self._fillers.after_seconds if asks_model and modality == "audio" else None,
        )
        response = Response(
            plan,
            engines=self._engines,
            deadlines=self._deadlines,
            clock=self.clock,
            dialogue=self._dialogue,
            emit=self._on_response,
            report=self._context.engine_failed,
        )
        response.start(context.tasks)
        return response

    def say(self, words: str) -> Response:
        """Say just this, of the agent's own accord."""
        response = self.prepare(CreateResponse(words=words))
        self.release(response)
        return response

    def release(self, response: Response) -> None:
        """Let the client have it. Raises Refused while another is being sent."""
        if self.active is not None:
            raise Refused("conversation_already_has_active_response", "a response is already in progress")
        self._responses.append(response)
        response.release()
        if self._context.user_turn is not None and not self._context.user_speaks and not self.protected:
            response.pause()  # somebody may be about to interrupt it

    def cancel(self, response_id: str | None, reason: ResponseReason) -> None:
        """End the response of which more is to be sent, or what goes on between it and the answer to what it called:
        no tool is called for it any more. Raises Refused when there is none, or none of this id."""
        active, calling = self.active, self.calls.response_id
        known = {None, calling} if calling is not None else set()
        for response in filter(None, (active, self._next)):
            known |= {None, response.plan.response_id}
        if response_id not in known:
            raise Refused("response_cancel_not_active", "Cancellation failed: no active response found")
        for response in filter(None, (active, self._next)):
            response.cancel(reason)
        self._next = None
        self.calls.interrupt()

    async def until_sent(self) -> None:
        """Wait until nothing more is to be sent."""
        while self.active is not None:
            await self.active.done.wait()

    def stop(self, reason: ResponseReason) -> None:
        """Not a sample more of anything, and no result is waited for."""
        for response in (*self._responses, *filter(None, (self._next,))):
            response.cancel(reason)
        self._next = None
        self.calls.interrupt()
        self._reference.clear()

    def _prompt_of(
        self,
        request: CreateResponse,
        user_text: str,
        speculative: bool,
        after: Callable[[], Awaitable[None]] | None,
        asks_model: bool,
    ) -> Callable[[], Awaitable[LlmRequest]]:
        """Without anything to wait for, the prompt is the conversation as it is now."""
        built: LlmRequest | None = None
        if asks_model and after is None:
            built = self._prompts.build(request, user_text=user_text, speculative=speculative)

        async def build() -> LlmRequest:
            if after is not None:
                await after()
            return built or self._prompts.build(request)

        return build

    @property
    def _lead(self) -> float:
        lead_ms = self._context.options.lead_ms
        return (self._playout_settings.lead_ms if lead_ms is None else lead_ms) / 1000

    # -- what comes of responses and of tools -----------------------------------------------------------------------

    def _on_response(self, response: Response, event: Event) -> None:
        """Hand the event of a response on, with what only is known here."""
        match event:
            case ResponseAudio(pcm=pcm):
                rate = response.plan.rate
                self._reference.sent(pcm, rate, self.clock.sent - len(pcm) / rate)
            case ResponseDone(item=item):
                if item is not None:
                    self._keep_spoken(item.id, response.spoken)
                if response.called:
                    event = replace(event, calls=self.calls.begin(response, response.called))
        self._context.emit(event)
        failure = response.failure if isinstance(event, ResponseDone) else None
        if failure is not None and failure.stage != "asr":  # that was said when the turn had no words
            self._context.engine_failed(failure)
        if isinstance(event, ResponsePlayed):
            self._over(response)

    def _on_tools(self, event: ToolEvent) -> None:
        match event:
            case ResultsReady():
                self._answer_results(event)
            case ResultsDelayed():
                self._fill()

    def _keep_spoken(self, item_id: str, spoken: SpokenText) -> None:
        self._spoken[item_id] = spoken
        if len(self._spoken) > RESPONSES_KEPT:
            self._spoken.popitem(last=False)

    def _over(self, response: Response) -> None:
        """The client has played all there is of it."""
        plan, timeline = response.plan, response.timeline
        if plan.user_item_id is not None and not self._continues(response):
            self._context.emit(TurnTimed(plan.user_item_id, plan.response_id, timeline))
        log.info("session %s: response %s: %s", self._context.id, plan.response_id, timeline.marks())
        self._responses.remove(response)
        self._context.touch()
        if timeline.heard is not None:
            self.played_out.set()

    def _continues(self, response: Response) -> bool:
        """Whether the turn's answer is still to come: the response was silent, and what it called is the server's."""
        by_server = any(call.name not in response.plan.client_tools for call in response.called)
        return by_server and response.timeline.first_audio is None

    # -- tools ------------------------------------------------------------------------------------------------------

    def _answer_results(self, ready: ResultsReady) -> None:
        """Answer the results of what a response called. If that one was silent, this is the answer to the turn; not so
        when the client had to agree first."""
        caller = ready.response
        of_turn = not ready.approved_late and caller.timeline.first_audio is None
        user_item_id = caller.plan.user_item_id if of_turn else None
        response = self.prepare(ready.request, user_item_id=user_item_id, rounds=caller.plan.rounds + 1)
        if not ready.approved_late:
            response.timeline.take_turn(caller.timeline)
        self._next = response
        self._context.tasks.create_task(self._release_when_silent(response), name="follow-up")

    async def _release_when_silent(self, response: Response) -> None:
        """Release it once nothing else is being sent, unless the user speaks by then: the answer to that turn will be
        to the results too."""
        await self.until_sent()
        if self._next is not response:  # all was stopped meanwhile
            return
        self._next = None
        if self._context.user_speaks:
            response.cancel("turn_detected")
        else:
            self.release(response)

    def _fill(self) -> None:
        """Say something while tools run, if nobody else says anything."""
        if self._context.user_turn is not None or self.current is not None:
            return
        filler = self._fillers.next(self._dialogue.latest_words())
        if filler is not None:
            response = self.prepare(CreateResponse(), phrase=filler)
            self._dialogue.begin_with_filler(response.plan.item_id, filler.text)
            self.release(response)

    # -- what was heard ---------------------------------------------------------------------------------------------

    def playing(self, samples: int) -> Pcm | None:
        """The last so many samples at 16 kHz that the client has played by now; None while it plays nothing."""
        moment = now()
        if self.clock.remaining(moment) == 0.0:
            return None
        lag = self.current.lag if self.current is not None else 0.0
        return self._reference.played(self.clock.played(moment) - lag, samples)

    @property
    def recent_text(self) -> str:
        """What the current response has said in the last few seconds."""
        if self.current is None:
            return ""
        return self.current.spoken.heard(self.current.sounded_seconds)[-RECENT_CHARS:]

    def report_playing(self, item_id: str, audio_ms: int) -> None:
        """The client has played so much of a response by now, and goes on. What it reports of one that is over comes
        too late: after a flush all marks come back at once."""
        for response in self._responses:
            if response.plan.item_id == item_id:
                response.report_played(audio_ms / 1000)

    def report_played(self, item_id: str, audio_end_ms: int) -> None:
        """The client says how far it played a response: what was heard, better known than by the playout clock."""
        for response in self._responses:
            if response.plan.item_id == item_id:
                response.report_stopped(audio_end_ms / 1000)
        spoken = self._spoken.get(item_id)
        if spoken is not None:
            self._dialogue.set_text(item_id, spoken.heard(audio_end_ms / 1000), complete=False)
