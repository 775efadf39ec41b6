"""A small client for OpenAI-Realtime-compatible voice servers."""

from voiceagent_client.audio_io import AudioDevice, Frame, WavDevice
from voiceagent_client.connection import Backoff, Dropped, RealtimeConnection
from voiceagent_client.conversation import Conversation
from voiceagent_client.errors import AudioError, ClientError, ConnectError, NoAnswer, RefusedError
from voiceagent_client.happenings import (
    AgentText,
    Disconnected,
    Happening,
    Interrupted,
    ResponseDone,
    ResponseMeasured,
    ResponsePlayed,
    ResponseStarted,
    SessionError,
    SessionStarted,
    TurnTimings,
    UserSpeechStarted,
    UserSpeechStopped,
    UserText,
)
from voiceagent_client.playback import Cut, Player
from voiceagent_client.script import Script
from voiceagent_client.sound import SoundDevice, list_devices
from voiceagent_client.transcript import Line
from voiceagent_client.wav import StereoRecorder, read_wav, recording
from voiceagent_client.wire import ClientEvent, ServerEvent, SessionConfig

__all__ = [
    "AgentText",
    "AudioDevice",
    "AudioError",
    "Backoff",
    "ClientError",
    "ClientEvent",
    "ConnectError",
    "Conversation",
    "Cut",
    "Disconnected",
    "Dropped",
    "Frame",
    "Happening",
    "Interrupted",
    "Line",
    "NoAnswer",
    "Player",
    "RealtimeConnection",
    "RefusedError",
    "ResponseDone",
    "ResponseMeasured",
    "ResponsePlayed",
    "ResponseStarted",
    "Script",
    "ServerEvent",
    "SessionConfig",
    "SessionError",
    "SessionStarted",
    "SoundDevice",
    "StereoRecorder",
    "TurnTimings",
    "UserSpeechStarted",
    "UserSpeechStopped",
    "UserText",
    "WavDevice",
    "list_devices",
    "read_wav",
    "recording",
]
