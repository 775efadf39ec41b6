"""`voiceagent doctor`: what is right and wrong with this machine and its configuration, and what helps. No network."""

import importlib
import ipaddress
import os
import platform
import re
import socket
import ssl
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Literal

from pydantic import SecretStr
from rich.console import Console
from rich.table import Table
from rich.text import Text

from voiceagent import engines
from voiceagent.errors import ConfigError
from voiceagent.extras import MissingExtra
from voiceagent.memory.base import MEMORY_STORES
from voiceagent.memory.settings import StoreSection
from voiceagent.models.pip import without_credentials
from voiceagent.models.store import ModelStore
from voiceagent.server.configuration import engine_sections
from voiceagent.server.settings import ServerSection
from voiceagent.settings import Settings

State = Literal["good", "warning", "wrong"]

LOCAL_MODELS: Mapping[tuple[engines.EngineStage, str], str] = {
    ("vad", "silero"): "silero-vad",
    ("asr", "sherpa"): "moonshine-tiny-en",
    ("llm", "embedded"): "smollm2-135m-instruct",
}
"""The catalogue model that a built-in engine loads unless its `model` option says otherwise."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at. `mend` is a command or a setting that would help, empty when nothing needs to."""

    what: str
    state: State
    detail: str
    mend: str = ""

    @property
    def ok(self) -> bool:
        """Whether the server can run with it: true of warnings too."""
        return self.state != "wrong"


def report(settings: Settings, store: ModelStore) -> list[Check]:
    """Look at everything. Blocking, for a second or two: it imports the engines. Nothing in it is secret."""
    secrets = sorted(_secrets(settings), key=len, reverse=True)
    checks = [
        Check("Python", "good", f"{platform.python_version()}, {sys.executable}"),
        _packages(),
        *_engines(settings, store),
        *_models(settings, store),
        _sound(),
        _port(settings.server),
        *_tls(settings.server),
        _memory(settings.memory),
        _keys(settings),
    ]
    return [replace(check, detail=_clean(check.detail, secrets), mend=_clean(check.mend, secrets)) for check in checks]


def show(checks: Sequence[Check], console: Console) -> None:
    """Print the report as a table."""
    colours = {"good": "green", "warning": "yellow", "wrong": "red"}
    table = Table("", "what", "found", "mend", box=None, pad_edge=False)
    for check in checks:
        # Text, since the details hold [section] names, which rich would take for markup.
        state = Text(check.state, style=colours[check.state])
        table.add_row(state, Text(check.what), Text(check.detail), Text(check.mend))
    console.print(table)


def _packages() -> Check:
    """The versions installed of what voiceagent depends on."""
    try:
        needed = [line for line in metadata.requires("voiceagent") or [] if "extra ==" not in line]
    except metadata.PackageNotFoundError:
        return Check("packages", "wrong", "voiceagent is not installed", "pip install voiceagent")
    found: list[str] = []
    missing: list[str] = []
    for requirement in ["voiceagent", *needed]:
        name = re.split(r"[^\w.-]", requirement, maxsplit=1)[0]
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        return Check("packages", "wrong", f"missing: {', '.join(missing)}", f"pip install {' '.join(missing)}")
    return Check("packages", "good", ", ".join(found))


def _engines(settings: Settings, store: ModelStore) -> Iterator[Check]:
    for kind, section in engine_sections(settings).items():
        what = f"engine [{kind}]"
        try:
            engines.KINDS[kind].make(f"[{kind}]", section.with_options(), store)
        except MissingExtra as error:
            yield Check(what, "wrong", str(error), error.command)
        except ConfigError as error:
            there = ", ".join(engines.KINDS[kind].names())
            yield Check(what, "wrong", str(error), f"correct [{kind}] in the configuration; engines: {there}")
        except (ImportError, OSError) as error:  # OSError: a shared library that is not there
            yield Check(what, "wrong", f"{section.engine} cannot be loaded: {error}", "pip install voiceagent")
        except Exception as error:  # a third party's engine may fail in any way; the message may hold an option
            yield Check(what, "wrong", f"{section.engine} cannot be made ({type(error).__name__})")
        else:
            yield Check(what, "good", section.engine)


def _models(settings: Settings, store: ModelStore) -> Iterator[Check]:
    """The models that the configured engines load."""
    known = {model.name for model in store.catalogue}
    for kind, section in engine_sections(settings).items():
        name = section.with_options().get("model", LOCAL_MODELS.get((kind, section.engine)))
        if name not in known or (kind, section.engine) not in LOCAL_MODELS:
            continue
        what = f"model {name}"
        if store.installed(str(name)):
            yield Check(what, "good", str(store.root / str(name)))
        else:
            yield Check(what, "wrong", f"not in {store.root}", store.fetch_command(str(name)))


def _sound() -> Check:
    """Sound devices are for talking at this very machine. A server needs none, so this is never more than a warning."""
    what = "sound devices"
    try:
        sounddevice = importlib.import_module("sounddevice")
        devices = [dict(device) for device in sounddevice.query_devices()]
    except ImportError:
        return Check(what, "warning", "the package sounddevice is missing", "pip install 'voiceagent[client]'")
    except OSError:
        mend = "Debian, Ubuntu: sudo apt install libportaudio2; macOS: brew install portaudio"
        return Check(what, "warning", "PortAudio is missing (only needed to talk at this machine)", mend)
    except Exception as error:  # sounddevice.PortAudioError, which can only be named when the import worked
        return Check(what, "warning", f"PortAudio does not start: {error}", "check the sound system of this machine")
    microphones = sum(device["max_input_channels"] > 0 for device in devices)
    speakers = sum(device["max_output_channels"] > 0 for device in devices)
    found = f"{microphones} with a microphone, {speakers} with a speaker"
    if not (microphones and speakers):
        return Check(what, "warning", f"{found} (only needed to talk at this machine)", "plug in a headset")
    return Check(what, "good", found)


def _port(server: ServerSection) -> Check:
    what = f"port {server.port}"
    try:
        places = socket.getaddrinfo(server.host, server.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = places[0]
        socket.create_server(address, family=family).close()
    except socket.gaierror:
        return Check(what, "wrong", f"{server.host!r} is no address of this machine", "set server.host to 127.0.0.1")
    except OSError as error:
        detail = f"cannot listen on {server.host}: {os.strerror(error.errno or 0)}"
        return Check(what, "wrong", detail, "end the program that holds it, or set server.port to another")
    return Check(what, "good", f"free on {server.host}")


def _tls(server: ServerSection) -> Iterator[Check]:
    if server.tls_cert is None or server.tls_key is None:  # the settings allow both or none
        return
    for path in (server.tls_cert, server.tls_key):
        if not os.access(path, os.R_OK):
            yield Check("TLS", "wrong", f"{path} cannot be read", f"ls -l {path}")
            return
    try:
        # An empty password, since OpenSSL would ask for one at the terminal.
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(server.tls_cert, server.tls_key, "")
    except OSError:
        mend = "give PEM files: the certificate with its chain, and its own key without a password"
        yield Check("TLS", "wrong", f"{server.tls_cert} and {server.tls_key} are not a certificate and its key", mend)
    else:
        yield Check("TLS", "good", str(server.tls_cert))


def _memory(section: StoreSection) -> Check:
    if not section.enabled:
        return Check("memory", "good", "kept in no file: [memory] path is empty")
    try:
        MEMORY_STORES.make("[memory]", section.with_options())
    except ConfigError as error:
        return Check("memory", "wrong", str(error), "correct [memory] in the configuration")
    if section.engine != "sqlite":
        return Check("memory", "good", f"{section.engine} (not tried)")
    if "://" in section.path:
        return Check("memory", "good", f"{section.path} (not tried: that needs the network)")
    file = Path(section.path).expanduser()
    if not file.parent.is_dir():
        return Check("memory", "wrong", f"there is no folder {file.parent}", f"mkdir -p {file.parent}")
    if not os.access(file.parent, os.W_OK | os.X_OK) or (file.exists() and not os.access(file, os.W_OK)):
        return Check("memory", "wrong", f"{file} cannot be written", f"chown $USER {file.parent} {file}")
    if file.is_dir() or (file.exists() and not _is_sqlite(file)):
        return Check("memory", "wrong", f"{file} is not an SQLite database", "set memory.path to another file")
    return Check("memory", "good", str(file))


def _is_sqlite(file: Path) -> bool:
    """Going by its first bytes, which SQLite's file format fixes; a new database is an empty file."""
    with file.open("rb") as opened:
        return opened.read(16) in (b"SQLite format 3\0", b"")


def _keys(settings: Settings) -> Check:
    keys = len(settings.limits.api_keys)
    if keys:
        return Check("API keys", "good", f"{keys} set")
    if _loopback(settings.server.host):
        return Check("API keys", "good", "none, but only this machine can connect")
    mend = "add [[limits.api_keys]] with a name and a key to the configuration"
    return Check("API keys", "warning", f"none: everyone who reaches {settings.server.host} may talk", mend)


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _secrets(settings: Settings) -> set[str]:
    """Every value that must not be shown, wherever an engine might repeat it."""
    found = {key.key.get_secret_value() for key in settings.limits.api_keys}
    for section in engine_sections(settings).values():
        found.update(_secret_options(section.with_options()))
    found.update(value for name, value in os.environ.items() if name.endswith(("_KEY", "_TOKEN", "_SECRET")))
    return {secret for secret in found if len(secret) > 3}


def _secret_options(value: object, named: bool = False) -> Iterator[str]:
    match value:
        case SecretStr():
            yield value.get_secret_value()
        case str() if named:
            yield value
        case Mapping():
            for name, inner in value.items():
                secret = re.search(r"key|token|secret|passw|authorization|header", str(name), re.IGNORECASE)
                yield from _secret_options(inner, named or secret is not None)
        case list() | tuple():
            for inner in value:
                yield from _secret_options(inner, named)
        case _:
            return


def _clean(text: str, secrets: Sequence[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, "***")
    return without_credentials(text)
