"""A xiaozhi device's conversation, once hellos were said: who listens, who speaks, and what ends that.

It mirrors the device's own state, since only the server can end "speaking", and since a device in any other state drops
what it is sent.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import get_args

from voiceagent.channels.base import Action, CloseSocket, Execute, Frame, Send, SetTimer
from voiceagent.channels.xiaozhi.device_tools import (
    DeviceRequest,
    DeviceToolOffer,
    DeviceToolResult,
    DeviceTools,
    PendingCalls,
    Step,
)
from voiceagent.channels.xiaozhi.hello import Terms
from voiceagent.channels.xiaozhi.loudspeaker import DeviceLoudspeaker
from voiceagent.channels.xiaozhi.messages import Mode, Received, message, shortened
from voiceagent.channels.xiaozhi.microphone import DeviceMicrophone
from voiceagent.channels.xiaozhi.settings import WAKE_WORDS, XiaozhiSection, phrases
from voiceagent.session import commands, events
from voiceagent.session.conversation import FunctionOutput, Item, Part
from voiceagent.session.options import SessionOptions
from voiceagent.turn.options import TurnOptions

STOP_SECONDS = 0.2
"""From the end of a response by the playout clock to `tts stop`: the last packet has been played by then. Early
firmware throws away what it has not."""
FILL_SECONDS = 0.09
"""So long what fills no packet waits for more: the session sends its frames every 60 ms."""
WATCH_SECONDS = 10.0
"""A device that is sent no audio for so long does not speak."""
LISTEN_SECONDS = 0.7
"""How long the user is listened to after a goodbye: what they began to say meanwhile is heard, and the session goes
on."""
FAREWELL_SECONDS = 15.0
"""How long goodbye may take."""
MAX_TEXT = 4_000
"""Characters of typed words."""

_MODES: Mapping[str, Mode] = {mode: mode for mode in get_args(Mode)}
_NOT_IN_WORDS = re.compile(r"[\W_]+")


class DeviceConversation:
    def __init__(
        self, session_id: str, terms: Terms, options: SessionOptions, section: XiaozhiSection, tools: DeviceTools
    ) -> None:
        """`options` are those the session was given."""
        self._session_id = session_id
        self._terms = terms
        self._options = options
        self._section = section
        self._phrases = phrases(options.language)
        self._wake_words = frozenset(map(plain, (*WAKE_WORDS, *section.wake_words)))
        self._exit_words = frozenset(map(plain, section.exit_words))
        self._speech = DeviceLoudspeaker(session_id, terms.version, terms.frame_ms, plain=terms.pcm_down)
        self.microphone = DeviceMicrophone(terms, self._speech.played, wake_audio=section.wake_audio)
        self._tools = tools
        self._calls = PendingCalls()
        self._reply_id = ""
        """The latest response; "" when it is over."""
        self._silenced = ""
        """A response that the device has interrupted: no more of it is sent, whatever comes."""
        self._user_speaks = False
        self._closing = False
        """The session ends once the latest response was played."""
        self._wrong = ""
        """What the device is to be shown once it is silent."""
        self._packets_seen = 0

    def begin(self) -> list[Action]:
        return [*(self.take(self._tools.start()) if self._terms.mcp else []), self._await_words()]

    # -- from the device --------------------------------------------------------------------------------------------

    def listen(self, received: Received) -> list[Action]:
        match received.state:
            case "start":
                return self._listens(_MODES.get(received.mode, "auto"))
            case "stop":
                return [*self.microphone.stop(), self._await_words()]
            case "detect":
                return self._detected(received.text.strip())
        return []

    def _listens(self, mode: Mode) -> list[Action]:
        turn = None if mode == "manual" else self._options.turn or TurnOptions()
        options = replace(self._options, turn=turn)
        actions: list[Action] = [] if options == self._options else [self._configure(options)]
        if mode == "manual":  # the button takes the floor
            actions += self._interrupt()
        self.microphone.start(mode)
        return [*actions, self._await_words()]

    def _detected(self, text: str) -> list[Action]:
        """A wake word, or words that somebody typed: clients have no other message for them."""
        words, manner = plain(text), self._section.on_wake
        known = not words or words in self._wake_words
        if known:
            self.microphone.skip(self._section.wake_tail_ms)
        if not words or (known and manner != "text"):
            greeting = self._phrases.greeting if self._section.greeting is None else self._section.greeting
            greet = [Execute(commands.CreateResponse(words=greeting))] if manner == "greet" and greeting else []
            return [*self._interrupt(withdraw=True), *greet, self._await_words()]
        if len(text) > MAX_TEXT:
            self._wrong = self._phrases.too_long
            return self._show()
        actions = self._interrupt(withdraw=known)
        self._closing = words in self._exit_words
        return [
            *actions,
            self._send("stt", {"text": shortened(text)}),
            Execute(commands.CreateItem(Item("", "user", (Part("text", text),)))),
            Execute(commands.CreateResponse()),
            self._await_words(),
        ]

    def abort(self, reason: str | None) -> list[Action]:
        """At any stage: a device that is not answered stays where it is."""
        if reason == "wake_word_detected":
            self.microphone.skip(self._section.wake_tail_ms)
        stop = [] if self._speech.speaking else [Send(self._speech.stop_frame())]
        return [*stop, *self._interrupt(withdraw=True), self._await_words()]

    def _interrupt(self, *, withdraw: bool = False) -> list[Action]:
        """The user has the floor, by other means than the voice. `withdraw`: what was asked and not answered yet is
        not wanted any more."""
        self._silenced, self._reply_id = self._reply_id or self._silenced, ""
        self._user_speaks = self._closing = False
        self._calls.abandon()
        return [*self._silence(), Execute(commands.Interrupt(withdraw)), Execute(commands.ClearAudio())]

    # -- from the session -------------------------------------------------------------------------------------------

    def encode(self, event: events.Event) -> list[Frame | Action]:
        match event:
            case events.ResponseStarted(response_id=response_id):
                self._reply_id, self._user_speaks = response_id, False
                self._speech.begin()
            case events.ResponseText() | events.ResponseAudio() if event.response_id == self._silenced:
                pass
            case events.ResponseText():
                self._speech.text(event)
            case events.ResponseAudio():
                return self._speak(event)
            case events.ResponseDone():
                return self._reply_done(event)
            case events.ResponsePlayed(response_id=response_id):
                return [*self._reply_played(response_id)]
            case events.SpeechStarted():
                self._user_speaks, self._closing = True, False
                self._calls.abandon()
                return [self._await_words()]
            case events.SpeechStopped():
                self._user_speaks = False
                return [self._await_words()]
            case events.TranscriptDone(text=text):
                return [*self._understood(text)]
            case events.ToolCalled(response_id=response_id, call=call, by_client=True):
                self._calls.made(response_id, call.call_id)
                return [*self.take(self._tools.call(call.call_id, call.name, call.arguments))]
        return []

    def _speak(self, event: events.ResponseAudio) -> list[Frame | Action]:
        began = not self._speech.speaking
        told = self._speech.audio(event)
        told += [SetTimer("fill", FILL_SECONDS if self._speech.unfilled else None), SetTimer("stop", None)]
        if began:
            self._packets_seen = 0
            told += [SetTimer("silence", None), SetTimer("watchdog", WATCH_SECONDS), *self.microphone.yield_to_speech()]
        return told

    def _reply_done(self, event: events.ResponseDone) -> list[Frame | Action]:
        told: list[Frame | Action] = []
        if self._speech.speaking and self._speech.response_id == event.response_id:
            told += self._silence() if event.status == "cancelled" else self._speech.fill()
        if event.status == "failed":
            self._wrong = self._phrases.failed
        if self._calls.done(event.response_id, cancelled=event.status == "cancelled"):
            told.append(Execute(commands.CreateResponse()))
        return told

    def _reply_played(self, response_id: str) -> list[Action]:
        if response_id != self._reply_id:  # another has begun, or it was interrupted
            return []
        self._reply_id = ""
        if not self._speech.speaking:  # it had no sound, or was cut off
            return self._rest()
        if self._user_speaks:  # it was cut off after all of it had been sent
            return [*self._silence(), *self._rest()]
        return [SetTimer("stop", STOP_SECONDS + self._speech.padded_ms / 1000)]

    def _understood(self, text: str) -> list[Action]:
        if not text:  # a button was held and nothing said
            return [Execute(commands.CancelResponse())] if self.microphone.mode == "manual" else []
        self._closing = plain(text) in self._exit_words
        return [self._send("stt", {"text": shortened(text)}), self._await_words()]

    # -- the device's state -----------------------------------------------------------------------------------------

    def _silence(self) -> list[Action]:
        """Silence at once."""
        return [*self._speech.flush(), SetTimer("stop", None), SetTimer("fill", None), SetTimer("watchdog", None)]

    def _rest(self) -> list[Action]:
        """The device has played what there was."""
        actions = [*self._speech.stop(), SetTimer("watchdog", None), *self._show()]
        if self._closing:
            return [*actions, SetTimer("over", LISTEN_SECONDS)]
        return [*actions, self._await_words()]

    def _show(self) -> list[Action]:
        """Tell what went wrong, but not while the device speaks: an alert makes a sound."""
        if not self._wrong or self._speech.speaking:
            return []
        wrong, self._wrong = self._wrong, ""
        return [self._alert(wrong)]

    def _watch(self) -> list[Action]:
        if self._speech.packets == self._packets_seen:
            return self._rest()
        self._packets_seen = self._speech.packets
        return [SetTimer("watchdog", WATCH_SECONDS)]

    def _await_words(self) -> SetTimer:
        """Nobody speaks, and somebody may not for long."""
        quiet = not (self._user_speaks or self._speech.speaking)
        return SetTimer("silence", self._section.silence_seconds if quiet else None)

    def _farewell(self) -> list[Action]:
        goodbye = self._phrases.goodbye if self._section.goodbye is None else self._section.goodbye
        if self._reply_id:  # the answer takes its time
            return [self._await_words()]
        if self.microphone.mode == "manual" or not goodbye:  # nobody waits for words while no button is held
            return [CloseSocket(1000, "nobody spoke")]
        self._closing = True
        return [Execute(commands.CreateResponse(words=goodbye)), SetTimer("farewell", FAREWELL_SECONDS)]

    def on_timer(self, name: str) -> list[Action]:
        match name.partition(":"):
            case ("stop", _, _):
                return self._rest()
            case ("fill", _, _):
                return [Send(packet) for packet in self._speech.fill()]
            case ("watchdog", _, _) if self._speech.speaking:
                return self._watch()
            case ("silence", _, _) if self._closing and not self._reply_id:  # goodbye was said
                return [self._await_words()]
            case ("silence", _, _):
                return self._farewell()
            case ("over", _, _) if self._closing and not self._reply_id:
                return [CloseSocket(1000, "the conversation is over")]
            case ("farewell", _, _) if self._closing:
                return [CloseSocket(1000, "nobody spoke")]
            case ("tool", _, number):
                return self.take(self._tools.expire(int(number)))
        return []

    # -- its tools --------------------------------------------------------------------------------------------------

    def take(self, steps: list[Step]) -> list[Action]:
        """What the device's tools bring about."""
        actions: list[Action] = []
        for step in steps:
            match step:
                case DeviceRequest(payload, request_id, seconds):
                    actions.append(self._send("mcp", {"payload": payload}))
                    if request_id is not None:
                        actions.append(SetTimer(f"tool:{request_id}", seconds))
                case DeviceToolOffer(tools):
                    actions.append(self._configure(replace(self._options, tools=tools)))
                case DeviceToolResult(call_id, output):
                    actions.append(Execute(commands.CreateItem(FunctionOutput("", call_id, output))))
                    if self._calls.answered(call_id):
                        actions.append(Execute(commands.CreateResponse()))
        return actions

    def _configure(self, options: SessionOptions) -> Execute:
        self._options = options
        return Execute(commands.Configure(options))

    # -- messages ---------------------------------------------------------------------------------------------------

    def end(self, *, failed: bool) -> list[Frame]:
        """Last words, whatever state the device is in."""
        told = [*self._speech.stop(), *([self._alert(self._phrases.failed)] if failed else [])]
        return [action.frame for action in told if isinstance(action, Send)]

    def _send(self, kind: str, fields: Mapping[str, object]) -> Send:
        return Send(message(self._session_id, kind, fields))

    def _alert(self, text: str) -> Send:
        return self._send("alert", {"status": self._phrases.status, "message": text, "emotion": "sad"})


def plain(text: str) -> str:
    """Words without case, marks and spaces, to be compared."""
    return _NOT_IN_WORDS.sub("", text).casefold()
