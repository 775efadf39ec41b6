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
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.image_rig import ROOT, Image, build, instructions, missing
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
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        until = time.monotonic() + START_SECONDS
        while (check := image.run(*image.health, more=variables)).returncode:
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < until, check.stderr
            time.sleep(1)
        yield process
    finally:
        process.kill()  # --kill-child ends all that it has started
        process.communicate()


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
