"""Talks recorded without a server: what happens in them is told in order, each at its own time."""

import numpy as np

from voiceagent.audio.pcm import Pcm, silence
from voiceagent.recordings.store import RecordingStore
from voiceagent.recordings.talk import Moment, RecordingHeader, SessionRecording
from voiceagent.session import events as ev
from voiceagent.session.commands import AppendAudio, TruncateItem
from voiceagent.session.conversation import Item, Part
from voiceagent.session.options import SessionOptions
from voiceagent.session.timeline import Timeline

RATE = 24_000
SESSION = "sess_0123456789abcdef01234567"
STARTED = 1000.0
"""On the loop's clock, where the talk begins."""
FRAME = RATE // 50


def tone(seconds: float, level: int = 8000) -> Pcm:
    """A sound that never stands at zero for two samples."""
    return np.tile(np.array([level, -level], np.int16), round(seconds * RATE / 2))


def about(session: str = SESSION) -> RecordingHeader:
    return RecordingHeader(session, "realtime", "shop", "ann", STARTED, "2026-01-02T03:04:05+00:00", SessionOptions())


def microphone(recording: SessionRecording, start: float, pcm: Pcm) -> None:
    """The user's audio in frames of 20 ms, each when its last sample was spoken."""
    for position in range(0, len(pcm), FRAME):
        frame = pcm[position : position + FRAME]
        recording.take(start + (position + len(frame)) / RATE, AppendAudio(frame, RATE))


def interrupted_turn(recording: SessionRecording, user: str, agent: str, heard: str) -> None:
    """Speech for a second, an answer half a second later that is cut after another, four seconds in all. The client
    says that it played 400 ms."""
    microphone(recording, STARTED, np.concatenate((tone(1.0), silence(RATE // 2))))
    at = STARTED + 1.5
    item = Item("item_a", "assistant", (Part("audio", heard),), "incomplete")
    timeline = Timeline(
        onset=STARTED, speech_end=STARTED + 1, paused=STARTED + 1.2, committed=at, transcribed=at, first_audio=at
    )
    recording.take(STARTED + 0.1, ev.SpeechStarted("item_u", 0))
    answering: list[Moment] = [
        ev.SpeechStopped("item_u", 1000),
        ev.AudioCommitted("item_u", None),
        ev.TurnEnded("item_u", "silence", 500, 480, {"words": 0.71}),
        Item("item_u", "user", (Part("audio", user),)),
        ev.TranscriptDone("item_u", user, 1.0),
        ev.Speculated(True, 0),
        ev.ResponseStarted("resp_1", "audio", None, True, {}),
        ev.ResponseItemAdded("resp_1", Item("item_a", "assistant"), "item_u"),
        ev.ResponseText("resp_1", "item_a", agent),
        ev.ResponseAudio("resp_1", "item_a", tone(2.0, 12_000)),
    ]
    for event in answering:
        recording.take(at, event)
    microphone(recording, at, silence(RATE // 2))
    cut = at + 0.5
    timeline.interrupted = cut
    usage = ev.TokenUsage(50, 7, 20, 0.00123, "near")
    stopping: list[Moment] = [
        item,
        ev.ResponseDone("resp_1", item, "item_u", "cancelled", reason="turn_detected", usage=usage),
        ev.ResponsePlayed("resp_1"),
        ev.TurnTimed("item_u", "resp_1", timeline),
        ev.Interruption("confirm", "words"),
    ]
    for event in stopping:
        recording.take(cut, event)
    recording.take(cut + 0.05, TruncateItem("item_a", 400))
    recording.take(cut + 0.05, ev.ItemTruncated("item_a", 400))
    microphone(recording, cut, silence(2 * RATE))


def recorded(
    store: RecordingStore,
    session: str = SESSION,
    *,
    user: str = "Tell me a story.",
    agent: str = "Once upon a time there was a dragon.",
    heard: str = "Once upon a time",
    audio: bool = True,
) -> None:
    """A finished recording of one interrupted turn."""
    store.prepare()
    recording = SessionRecording(store, about(session), audio=audio)
    interrupted_turn(recording, user, agent, heard)
    recording.end(STARTED + 4.0, "client left")
