"""A small client for OpenAI-Realtime-compatible voice servers."""

from voiceagent_client.audio_io import AudioDevice, Frame, WavDevice
from voiceagent_client.connection import Backoff, Dropped, RealtimeConnection
from voiceagent_client.conversation import Conversation
from voiceagent_client.echo import EchoControl, HalfDuplex, WebRtcEcho, echo_control
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
from voiceagent_client.microphone import Microphone
from voiceagent_client.playback import Cut, Player
from voiceagent_client.push import PushToTalk
from voiceagent_client.script import Script
from voiceagent_client.sound import SoundDevice, list_devices
from voiceagent_client.transcript import Line
from voiceagent_client.wake import WakeWord
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
    "EchoControl",
    "Frame",
    "HalfDuplex",
    "Happening",
    "Interrupted",
    "Line",
    "Microphone",
    "NoAnswer",
    "Player",
    "PushToTalk",
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
    "WakeWord",
    "WavDevice",
    "WebRtcEcho",
    "echo_control",
    "list_devices",
    "read_wav",
    "recording",
]
