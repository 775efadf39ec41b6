"""Scenario files: what a user says in a conversation, what else is to be heard, and what must come of it."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta, Struct, ValidationError, convert, field

from voiceagent import extras
from voiceagent.errors import ConfigError

if TYPE_CHECKING:
    import yaml
else:
    yaml = extras.optional("yaml", "a scenario")

SUFFIXES = (".yaml", ".yml")
LARGEST = 1_000_000
"""Bytes of a scenario file."""

Milliseconds = Annotated[int, Meta(ge=0, le=600_000)]
Decibels = Annotated[float, Meta(ge=-100.0, le=100.0)]
Name = Annotated[str, Meta(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9][\w.-]*$")]


class SpeechPiece(Struct, frozen=True, forbid_unknown_fields=True):
    """A part of an utterance: `text` for the voice, a `wav` file (with `text`: what is said in it), or a pause."""

    text: str | None = None
    wav: str | None = None
    pause_ms: Milliseconds | None = None

    def __post_init__(self) -> None:
        if self.pause_ms is None and self.wav is None and not (self.text or "").strip():
            raise ValueError("A piece needs one of `text`, `wav`, `pause_ms`")
        if self.pause_ms is not None and (self.wav is not None or self.text is not None):
            raise ValueError("A piece with `pause_ms` takes neither `text` nor `wav`")


Say = str | SpeechPiece | list[str | SpeechPiece]


class Interjection(Struct, frozen=True, forbid_unknown_fields=True):
    """Something heard after the user's turn: `after_ms` from the first audible sample of the answer, from the turn's
    last sample of speech, or from the server's word that the turn is over. `level_db` makes it louder or softer."""

    kind: Literal["backchannel", "interruption", "noise"]
    say: Say
    after_ms: Milliseconds
    after: Literal["answer", "turn", "commit"] = "answer"
    level_db: Decibels = 0.0

    def __post_init__(self) -> None:
        pieces(self.say)


class Expect(Struct, frozen=True, forbid_unknown_fields=True):
    """What must come of a turn; what is not stated is only measured."""

    answered: bool = True
    interrupted: bool | None = None
    cut_off: bool | None = None
    resumed: bool | None = None
    answer: str | None = None
    max_response_ms: Milliseconds | None = None
    max_silence_ms: Milliseconds | None = None
    max_word_errors: Annotated[float, Meta(ge=0.0)] | None = None
    max_heard_words_off: Annotated[int, Meta(ge=0)] | None = None


class ScenarioTurn(Struct, frozen=True, forbid_unknown_fields=True):
    """One turn of the user's; the next one follows when its answer has been heard to the end."""

    say: Say
    meanwhile: list[Interjection] = field(default_factory=list)
    expect: Expect = Expect()

    def __post_init__(self) -> None:
        pieces(self.say)


class Noise(Struct, frozen=True, forbid_unknown_fields=True):
    """All through the talk, `snr_db` below the user's speech."""

    snr_db: Decibels
    kind: Literal["white", "pink", "babble"] | None = None
    wav: str | None = None

    def __post_init__(self) -> None:
        if (self.kind is None) == (self.wav is None):
            raise ValueError("A noise needs either `kind` or `wav`")


class Echo(Struct, frozen=True, forbid_unknown_fields=True):
    """The agent's own voice in the microphone, against the level at which it is played."""

    level_db: Decibels
    delay_ms: Annotated[int, Meta(ge=0, le=2000)]


class MicrophoneSettings(Struct, frozen=True, forbid_unknown_fields=True):
    noise: Noise | None = None
    echo: Echo | None = None
    telephone: bool = False


class Scenario(Struct, frozen=True, forbid_unknown_fields=True):
    """`folder` is where its WAV files are looked for; `turn_detection` is handed to the server as it stands."""

    name: Name
    turns: Annotated[list[ScenarioTurn], Meta(min_length=1, max_length=100)]
    description: str = ""
    language: str | None = None
    instructions: str | None = None
    turn_detection: dict[str, bool | int | float | str | None] | None = None
    microphone: MicrophoneSettings = MicrophoneSettings()


def pieces(say: Say) -> list[SpeechPiece]:
    """An utterance part by part. Raises ValueError when nothing is said in it."""
    given: list[str | SpeechPiece] = say if isinstance(say, list) else [say]
    result = [SpeechPiece(text=part) if isinstance(part, str) else part for part in given]
    if all(piece.pause_ms is not None for piece in result):
        raise ValueError("An utterance needs words or a `wav`")
    return result


def find(paths: Iterable[Path]) -> list[Path]:
    """The scenario files among and in these files and folders. Raises ConfigError when there are none."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(entry for entry in path.iterdir() if entry.suffix in SUFFIXES)
            if not inside:
                raise ConfigError(f"{path}: there are no scenarios (*.yaml) in this folder")
            found += inside
        else:
            found.append(path)
    return found


def read(path: Path) -> Scenario:
    """Raises ConfigError that names the file, the key and what is wrong with it."""
    return parse(read_bytes(path), str(path))


def read_bytes(path: Path) -> bytes:
    """A file's content, of which no more is read than a scenario may have. Raises ConfigError."""
    try:
        with path.open("rb") as file:
            return file.read(LARGEST + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from None


def parse(data: bytes, name: str) -> Scenario:
    """`name` stands for the file in messages. Raises ConfigError."""
    try:
        return convert(load_yaml(data, name), Scenario)
    except ValidationError as error:
        raise invalid(name, error) from None
    except RecursionError:
        raise ConfigError(f"{name}: the whole file: contains itself") from None


def load_yaml(data: bytes, name: str) -> object:
    """What a scenario file holds. Raises ConfigError."""
    if len(data) > LARGEST:
        raise ConfigError(f"{name}: larger than {LARGEST} bytes")
    try:
        content: object = yaml.safe_load(data.decode("utf-8"))
    except UnicodeDecodeError:
        raise ConfigError(f"{name}: is not UTF-8 text") from None
    except yaml.MarkedYAMLError as error:
        where = "" if error.problem_mark is None else f"line {error.problem_mark.line + 1}: "
        raise ConfigError(f"{name}: {where}{error.problem or 'no YAML'}") from None
    # The values of some tags, such as `!!int x`, raise whatever their conversion raises.
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, RecursionError) as error:
        raise ConfigError(f"{name}: no YAML ({type(error).__name__})") from None
    return content


def invalid(name: str, error: ValidationError) -> ConfigError:
    """The error of a file that holds YAML but no scenario, which names the key."""
    why, _, where = str(error).partition(" - at ")
    key = where.strip("`").removeprefix("$.") or "the whole file"
    return ConfigError(f"{name}: {key}: {why}")
