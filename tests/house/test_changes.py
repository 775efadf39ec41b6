"""Changes that a newcomer makes, each in no more files than it should take."""

from pathlib import Path

from tests.house.change import Change

TONE_TTS = """
    import numpy as np
    from pydantic import BaseModel
    from voiceagent.tts.base import TtsAudio

    class ToneTts:
        class Options(BaseModel, extra="forbid"):
            hertz: int = 440

        sample_rate = 16_000

        def __init__(self, options, models):
            self._hertz = options.hertz

        async def open(self): ...

        async def speak(self, request):
            time = np.arange(self.sample_rate // 10) / self.sample_rate
            yield TtsAudio((3000 * np.sin(2 * np.pi * self._hertz * time)).astype(np.int16))

        async def close(self): ...
"""
SPEAK = """
    import asyncio
    from pathlib import Path
    from voiceagent.server.configuration import load_checked
    from voiceagent.server.resources import make_engines
    from voiceagent.tts.base import TtsRequest

    async def main(engine):
        Path("a.toml").write_text(f'[tts]\\nengine = "{engine}"\\nhertz = 220\\n')
        voice = make_engines(load_checked(Path("a.toml"))).tts
        await voice.open()
        print(sum([len(audio.pcm) async for audio in voice.speak(TtsRequest("Hello there."))]))
        await voice.close()

    asyncio.run(main("tone:ToneTts"))
    asyncio.run(main("tone"))
"""


def test_a_tts_engine_is_one_file(tmp_path: Path) -> None:
    change = Change(files={"tone.py": TONE_TTS}, entry_points={"voiceagent.tts": {"tone": "tone:ToneTts"}})
    assert change.touched == 1
    assert [int(samples) >= 1600 for samples in change.run(tmp_path, SPEAK).split()] == [True, True]


POSTGRES = """
    from pydantic import BaseModel

    class PostgresMemory:
        '''Stands for a database: what matters here is where it is plugged in.'''

        class Options(BaseModel, extra="forbid"):
            dsn: str

        def __init__(self, options):
            self._dsn, self._entries = options.dsn, {}

        async def open(self): print("connected to", self._dsn)

        async def recall(self, user, limit): return list(self._entries.get(user, {}).values())[-limit:]

        async def remember(self, user, entry): self._entries.setdefault(user, {})[entry.item_id] = entry

        async def users(self): return [(user, len(kept), 0.0) for user, kept in self._entries.items()]

        async def forget(self, user): return len(self._entries.pop(user, {}))

        async def close(self): ...
"""


def test_a_memory_store_is_one_file(tmp_path: Path) -> None:
    points = {"voiceagent.memory": {"postgres": "postgres_memory:PostgresMemory"}}
    change = Change(files={"postgres_memory.py": POSTGRES}, entry_points=points)
    assert change.touched == 1
    program = """
        from pathlib import Path
        from typer.testing import CliRunner
        from voiceagent.cli.main import app

        for engine in ("postgres", "postgres_memory:PostgresMemory"):
            Path("a.toml").write_text(f'[memory]\\nengine = "{engine}"\\ndsn = "postgres://db"\\nturns = 5\\n')
            for command in (["config", "check", "a.toml"], ["memory", "list", "--config", "a.toml"]):
                result = CliRunner().invoke(app, command)
                assert result.exit_code == 0, result.output
                print(result.output)
    """
    assert change.run(tmp_path, program).count("connected to postgres://db") == 2


CALENDAR = """
    from pydantic import BaseModel
    from voiceagent.llm.base import ToolSpec
    from voiceagent.tools.base import ToolPolicy

    class Days:
        spec = ToolSpec("days", "The days of the week that are free.")
        policy = ToolPolicy()

        async def call(self, arguments, caller): return "Monday"

    class Calendar:
        class Options(BaseModel, extra="forbid"):
            address: str

        def __init__(self, options): self.label = options.address

        async def open(self): ...

        def tools(self): return (Days(),)

        async def close(self): ...
"""


def test_a_kind_of_tool_is_one_file(tmp_path: Path) -> None:
    points = {"voiceagent.tools": {"calendar": "calendar_tools:Calendar"}}
    change = Change(files={"calendar_tools.py": CALENDAR}, entry_points=points)
    assert change.touched == 1
    program = """
        from pathlib import Path
        from typer.testing import CliRunner
        from voiceagent.cli.main import app

        for engine in ("calendar", "calendar_tools:Calendar"):
            Path("a.toml").write_text(f'[[tools.source]]\\nengine = "{engine}"\\naddress = "here"\\n')
            result = CliRunner().invoke(app, ["tools", "call", "days", "--config", "a.toml"])
            assert result.exit_code == 0, result.output
            print(result.output)
    """
    assert change.run(tmp_path, program).count("Monday") == 2


HUSH = """
    from pydantic import BaseModel

    class Hush:
        class Options(BaseModel, extra="forbid"):
            word: str

        def __init__(self, options): self._word = options.word

        async def open(self): ...

        async def judge(self, text): return "hushed" if self._word in text else None

        async def close(self): ...
"""


def test_a_guard_rail_is_one_file_for_every_engine(tmp_path: Path) -> None:
    change = Change(
        files={"hush.py": HUSH, "parrot.py": PARROT}, entry_points={"voiceagent.guard": {"hush": "hush:Hush"}}
    )
    assert change.touched == 2, "the parrot stands for any engine"
    program = """
        import asyncio
        from pathlib import Path
        from voiceagent.llm.base import LlmRequest, Message, TextDelta
        from voiceagent.server.configuration import load_checked
        from voiceagent.server.resources import make_llm

        async def main(name):
            rail = f'[[guard.moderators]]\\nengine = "{name}"\\nword = "secret"\\n'
            Path("a.toml").write_text(f'[llm]\\nengine = "parrot:Parrot"\\n{rail}')
            llm = make_llm(load_checked(Path("a.toml")))
            await llm.open()
            for said in ("hello there.", "the secret is out."):
                events = [event async for event in llm.reply(LlmRequest((Message("user", said),)))]
                print("".join(event.text for event in events if isinstance(event, TextDelta)))
            await llm.close()

        asyncio.run(main("hush"))
        asyncio.run(main("hush:Hush"))
    """
    said = change.run(tmp_path, program).splitlines()
    assert said == ["hello there.", "I am sorry, I cannot talk about that."] * 2


PARROT = """
    from pydantic import BaseModel
    from voiceagent.llm.base import Completed, TextDelta

    class Parrot:
        class Options(BaseModel): ...

        talk_tokens = None

        def __init__(self, options, models): ...

        async def open(self): ...

        async def reply(self, request):
            yield TextDelta(request.messages[-1].content)
            yield Completed("stop")

        async def close(self): ...
"""

DOORBELL = """
    from pydantic import BaseModel
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route
    from voiceagent.channels.channel import Channel

    class Doorbell:
        class Options(BaseModel, extra="forbid"):
            path: str = "/doorbell"

        def __init__(self, options, host):
            self._path, self._host = options.path, host

        def channel(self):
            async def ring(request):
                return PlainTextResponse(self._host.check_key(request.headers.get("authorization")))
            return Channel([Route(self._path, ring)])
"""


def test_a_channel_is_one_file(tmp_path: Path) -> None:
    points = {"voiceagent.channels": {"doorbell": "doorbell_channel:Doorbell"}}
    change = Change(files={"doorbell_channel.py": DOORBELL}, entry_points=points)
    assert change.touched == 1
    program = """
        from pathlib import Path
        from starlette.testclient import TestClient
        from voiceagent.server.app import VoiceServer
        from voiceagent.server.configuration import load_checked
        from voiceagent.server.resources import make_engines

        for engine in ("", "engine = 'doorbell_channel:Doorbell'"):
            Path("a.toml").write_text(f"[channels.doorbell]\\n{engine}\\npath = '/ring'\\n")
            settings = load_checked(Path("a.toml"))
            print(TestClient(VoiceServer(settings, make_engines(settings)).app).get("/ring").text)
    """
    assert change.run(tmp_path, program).split() == ["anyone", "anyone"]


def test_a_metric_is_one_file(tmp_path: Path) -> None:
    series = """
        self._cleared = Counter("voiceagent_cleared_total", "Times a client threw its audio away", registry=registry)
        self._turns ="""
    count = """
            case AudioCleared():
                self._cleared.inc()
            case AudioCommitted():"""
    change = Change(
        {
            "voiceagent/server/metrics.py": [
                ("\n        self._turns =", series),
                ("\n            case AudioCommitted():", count),
                ("import (\n    AudioCommitted,", "import (\n    AudioCleared,\n    AudioCommitted,"),
            ]
        }
    )
    assert change.touched == 1
    program = """
        from docs.reference import metrics_page
        from voiceagent.server.metrics import Metrics
        from voiceagent.session.events import AudioCleared

        metrics = Metrics()
        metrics.observe(AudioCleared())
        print(metrics.text()[0].decode(), metrics_page.page())
    """
    printed = change.run(tmp_path, program)
    assert "voiceagent_cleared_total 1.0" in printed
    assert "Times a client threw its audio away" in printed.partition("# Metrics")[2]


def test_a_setting_is_one_file_and_its_reference_is_generated(tmp_path: Path) -> None:
    setting = '''
    backlog: Annotated[int, Field(ge=1)] = 2048
    """Connections that may wait to be accepted."""
    tls_cert:'''
    change = Change({"voiceagent/server/settings.py": [("\n    tls_cert:", setting)]})
    assert change.touched == 1
    program = """
        from pathlib import Path
        from docs.reference import settings_page
        from voiceagent.server.configuration import load_checked

        Path("a.toml").write_text("[server]\\nbacklog = 64\\n")
        print(load_checked(Path("a.toml")).server.backlog, settings_page.page())
        Path("a.toml").write_text("[server]\\nbaklog = 64\\n")
        try:
            load_checked(Path("a.toml"))
        except Exception as error:
            print(error)
    """
    printed = change.run(tmp_path, program)
    assert printed.startswith("64 ")
    assert "Connections that may wait to be accepted." in printed
    assert 'server.baklog: there is no such key; did you mean "backlog"?' in printed


def test_the_shortest_voice_of_barge_in_is_one_named_value(tmp_path: Path) -> None:
    name = "SPEAKING = BargeInThresholds(words_ms=704, voice_ms=1216, listening_ms=2016, doubtful_ms=2016, short_ms="
    change = Change({"voiceagent/turn/options.py": [(f"{name}448", f"{name}512")]})
    assert change.touched == 1
    program = """
        from voiceagent.settings import Settings
        print(Settings().session.barge_in.speaking.short_ms)
    """
    assert change.run(tmp_path, program).strip() == "512"


def test_a_realtime_event_is_one_file_a_direction(tmp_path: Path) -> None:
    from_client = '''class HushEvent(ClientEvent, frozen=True, tag="voiceagent.hush"):
    """Stop the agent."""

    def command(self) -> commands.Command:
        return commands.Interrupt()


AnyRequest = (
    HushEvent
    | SessionUpdate'''
    to_client = '''class AudioClearedAgainEvent(ServerEvent, tag="voiceagent.audio.cleared"):
    """The client's audio was thrown away."""


def extension_events('''
    change = Change(
        {
            "voiceagent/channels/realtime/client_events.py": [("AnyRequest = (\n    SessionUpdate", from_client)],
            "voiceagent/channels/realtime/extension_events.py": [
                ("def extension_events(", to_client),
                (
                    "    match event:\n        case events.TranscriptPartial(",
                    "    match event:\n        case events.AudioCleared():\n"
                    "            return [AudioClearedAgainEvent()]\n        case events.TranscriptPartial(",
                ),
            ],
        }
    )
    assert change.touched == 2
    program = """
        import json
        from voiceagent.channels.realtime.protocol import RealtimeProtocol
        from voiceagent.session.events import AudioCleared
        from voiceagent.session.options import SessionOptions

        wire = RealtimeProtocol(
            session_id="s", model="m", defaults=SessionOptions(), expires_at=0, new_id=lambda kind: kind
        )
        wire.receive(json.dumps(
            {"type": "session.update", "session": {"type": "realtime", "voiceagent": {"events": True}}}
        ))
        print(wire.receive('{"type": "voiceagent.hush"}'), wire.encode(AudioCleared()))
    """
    printed = change.run(tmp_path, program)
    assert "Interrupt" in printed
    assert "voiceagent.audio.cleared" in printed
