"""The container image: built in an empty Debian, its server run by a user without rights and talked with (`make
test-image`)."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest

from tests.image_rig import ROOT, Image, build, instructions, missing
from tests.packaging.locks import read
from voiceagent.assets import ASSETS

USER = 10001
START_SECONDS = 120.0
STOP_SECONDS = 40.0
TALK_SECONDS = 120.0

needs_root = pytest.mark.skipif(bool(missing()), reason=missing())


def dockerfile() -> str:
    return (ROOT / "Dockerfile").read_text("utf-8")


def test_dockerfile_runs_every_step_of_the_script() -> None:
    script = (ROOT / "docker" / "build.sh").read_text("utf-8")
    steps = re.findall(r"^([a-z]+)\(\) \{", script, re.MULTILINE)
    run = [one.rest for one in instructions(dockerfile()) if one.word == "RUN"]
    assert [step for line in run for step in re.findall(r"build\.sh ([a-z]+)", line)] == steps


def test_dockerfile_copies_only_what_the_context_has() -> None:
    context = {line[1:] for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line.startswith("!")}
    copied = [one.rest.split()[:-1] for one in instructions(dockerfile()) if one.word == "COPY"]
    for source in (source for sources in copied for source in sources):
        assert source.split("/")[0] in context
        assert (ROOT / source).exists()


@pytest.mark.parametrize("lock", ["docker/requirements.lock", "docs/requirements.lock"])
def test_lock_has_the_releases_that_are_tested(lock: str) -> None:
    tested: defaultdict[str, set[str]] = defaultdict(set)
    for pin in read(ROOT / "requirements-dev.lock"):
        tested[pin.name].add(pin.version)
    pins = read(ROOT / lock)
    assert all(pin.hashes for pin in pins)
    assert not [pin for pin in pins if pin.name in tested and pin.version not in tested[pin.name]]


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (200, b'{"status": "ok", "sessions": 3}', 0),
        (503, b'{"status": "loading"}', 1),
        (200, b"<html>another server</html>", 1),
    ],
)
def test_health_check_tells_a_server_that_is_ready(status: int, body: bytes, code: int) -> None:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body if self.path == "/healthz" else b"{}")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert health_check(server.server_port) == code
        server.shutdown()


def test_health_check_without_a_server() -> None:
    assert health_check(free_port()) == 1


def health_check(port: int) -> int:
    """The exit code of the image's health check, with this machine's Python."""
    environment = {**os.environ, "VOICEAGENT_SERVER__PORT": str(port)}
    command = [sys.executable, str(ROOT / "docker" / "healthcheck.py")]
    return subprocess.run(command, capture_output=True, timeout=60, check=False, env=environment).returncode


@pytest.mark.parametrize("words", [["nosuch"], ["models"]])
def test_build_script_refuses_what_it_does_not_know(words: list[str]) -> None:
    environment = {**os.environ, "MODELS": "nowhere"}
    done = subprocess.run(
        [ROOT / "docker" / "build.sh", *words], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 2
    assert done.stderr.strip()


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    """The built image, with how long it took and how large it is on the terminal."""
    folder = Path(tempfile.mkdtemp(prefix="image-"))
    began = time.monotonic()
    try:
        built = build(folder)
        took = time.monotonic() - began
        print(f"\nimage: built in {took:.0f} s, {built.size / 1e6:.0f} MB ({parts(built)})")
        yield built
    finally:
        assert not os.path.ismount(folder / "proc")
        shutil.rmtree(folder, ignore_errors=True)


def parts(image: Image) -> str:
    sizes = []
    for name in ("app", "models", "usr"):
        done = subprocess.run(["du", "-sxb", image.folder / name], capture_output=True, text=True, check=True)
        sizes.append(f"/{name} {int(done.stdout.split()[0]) / 1e6:.0f}")
    return ", ".join(sizes)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def serving(image: Image, port: int) -> Iterator[subprocess.Popen[str]]:
    """The image's entry point as its user, until it is healthy by its own health check."""
    variables = {"VOICEAGENT_SERVER__PORT": str(port)}
    command = image.command(*image.entrypoint, more=variables)
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, text=True)
        try:
            until = time.monotonic() + START_SECONDS
            while (check := image.run(*image.health, more=variables)).returncode:
                assert process.poll() is None, output.seek(0) or output.read()
                assert time.monotonic() < until, check.stderr
                time.sleep(1)
            yield process
        finally:
            process.kill()  # --kill-child ends all that it has started
            process.wait()


def server_of(port: int) -> psutil.Process:
    """The process that listens on the port."""
    found = [one.pid for one in psutil.net_connections("tcp") if one.status == "LISTEN" and one.laddr.port == port]
    assert found
    return psutil.Process(found[0])


@pytest.mark.real
@needs_root
@pytest.mark.timeout(3600)
def test_image_holds_a_spoken_conversation(image: Image, tmp_path: Path) -> None:
    port, wav = free_port(), tmp_path / "talk.wav"
    before = image.run(*image.health, more={"VOICEAGENT_SERVER__PORT": str(port)})
    assert before.returncode == 1, "healthy without a server"
    with serving(image, port) as process:
        server = server_of(port)
        assert set(server.uids()) == {USER}
        url = f"ws://127.0.0.1:{port}/v1/realtime"
        client = [sys.executable, "-m", "voiceagent_client.cli", "--url", url, "--text"]
        talk = subprocess.run(
            [*client, "--wav", ASSETS / "demo" / "1-name.wav", ASSETS / "demo" / "4-recall.wav", "--out", wav],
            capture_output=True,
            text=True,
            timeout=TALK_SECONDS,
            check=False,
            cwd=tmp_path,
        )
        print(talk.stdout)
        assert talk.returncode == 0, talk.stderr
        assert talk.stdout.count("Anna") >= 3, talk.stdout  # heard, answered, remembered
        assert wav.stat().st_size > 100_000
        server.send_signal(signal.SIGTERM)
        process.wait(STOP_SECONDS)


@pytest.mark.real
@needs_root
@pytest.mark.timeout(3600)
def test_image_user_can_write_only_its_data(image: Image) -> None:
    writable = image.run(
        "sh",
        "-c",
        "for place in / /app /models /config /usr/local/lib /data; do test -w $place && echo $place; done; true",
    )
    assert writable.stdout.split() == ["/data"]
    assert image.run("id", "-u").stdout.strip() == str(USER)
    assert image.run("sh", "-c", "ls /src 2>&1; ls -A /data").stdout.splitlines()[1:] == []


@pytest.mark.real
@needs_root
@pytest.mark.timeout(3600)
def test_image_runs_other_commands(image: Image) -> None:
    listed = image.run(*image.entrypoint, "voiceagent", "models", "list")
    assert listed.returncode == 0, listed.stderr
    assert "/models" in listed.stdout


@pytest.mark.real
@needs_root
@pytest.mark.timeout(3600)
def test_image_has_what_every_channel_needs(image: Image) -> None:
    """Opus for speakers, signatures of vendors, MCP servers, a shared Redis, HTTP/2, spans."""
    done = image.run("/app/bin/python", "-c", "import av, h2, jwt, mcp, opentelemetry.sdk, redis")
    assert done.returncode == 0, done.stderr
