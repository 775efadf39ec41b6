"""Headless Chromium with a microphone that plays a WAV file, driven through its DevTools protocol.

with chromium(microphone) as browser:                  # synchronous, so that many tests share one
    async with browser.page() as page:                 # its own cookies and storage
        await page.open("http://127.0.0.1:8000/")
        await page.press("Tab")
        assert await page.value("document.title") == "…"
"""

import asyncio
import base64
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from websockets.asyncio.client import ClientConnection, connect

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
START_SECONDS = 30.0
COMMAND_SECONDS = 30.0
LARGEST_MESSAGE = 64 * 1024 * 1024
"""Bytes: a screenshot comes in one."""
FLAGS = (
    "--headless=new",
    "--no-sandbox",  # root in a container has none
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-features=Translate,OptimizationHints,MediaRouter",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
)
KEYS: Mapping[str, tuple[str, int, str]] = {
    "Tab": ("Tab", 9, ""),
    "Enter": ("Enter", 13, "\r"),
    "Escape": ("Escape", 27, ""),
    " ": ("Space", 32, " "),
    "ArrowDown": ("ArrowDown", 40, ""),
}
"""Code, Windows key code and text of the keys that are pressed by name."""


class BrowserError(RuntimeError):
    """The browser did not start, or refused a command, or a script in the page threw."""


def find() -> str | None:
    """The path of an installed Chromium."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


@dataclass
class Page:
    """`errors` are the page's console errors, exceptions and files that did not load."""

    socket: ClientConnection
    session: str = ""
    errors: list[str] = field(default_factory=list)
    _answers: dict[int, asyncio.Future[dict[str, Json]]] = field(default_factory=dict)

    async def command(self, method: str, **params: Json) -> dict[str, Json]:
        """Carry out a DevTools command and return its result. Raises BrowserError."""
        number = len(self._answers) + 1
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        message: dict[str, Json] = {"id": number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        await self.socket.send(json.dumps(message))
        async with asyncio.timeout(COMMAND_SECONDS):
            answered = await answer
        if "error" in answered:
            raise BrowserError(f"{method}: {answered['error']}")
        result = answered["result"]
        assert isinstance(result, dict)
        return result

    async def listen(self) -> None:
        """Take the browser's messages until it is gone."""
        async for raw in self.socket:
            message = json.loads(raw)
            if "id" in message:
                self._answers[message["id"]].set_result(message)
            elif (complaint := _complaint(message["method"], message["params"])) is not None:
                self.errors.append(complaint)

    async def open(self, url: str) -> None:
        await self.command("Page.navigate", url=url)
        await self.until("document.readyState === 'complete'")

    async def value(self, script: str) -> Json:
        """What the expression comes to, promises included. Raises BrowserError when it throws."""
        result = await self.command("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if (thrown := result.get("exceptionDetails")) is not None:
            raise BrowserError(f"{script}: {thrown}")
        value = result["result"]
        assert isinstance(value, dict)
        return value.get("value")

    async def until(self, script: str, seconds: float = 15.0) -> Json:
        """Wait until the expression is true, and return it. Raises TimeoutError naming it."""
        deadline = time.monotonic() + seconds
        while not (value := await self.value(script)):
            if time.monotonic() > deadline:
                raise TimeoutError(f"never came true in the page: {script}")
            await asyncio.sleep(0.03)
        return value

    async def press(self, key: str) -> None:
        """A key of KEYS."""
        code, number, text = KEYS[key]
        keys: dict[str, Json] = {"key": key, "code": code, "windowsVirtualKeyCode": number}
        await self.command("Input.dispatchKeyEvent", type="keyDown", text=text, **keys)
        await self.command("Input.dispatchKeyEvent", type="keyUp", **keys)

    async def write(self, text: str) -> None:
        """Into whatever has the focus."""
        await self.command("Input.insertText", text=text)

    async def click(self, selector: str) -> None:
        x, y, width, height = await self._box(selector)
        place: dict[str, Json] = {"x": x + width / 2, "y": y + height / 2, "button": "left", "clickCount": 1}
        for kind in ("mousePressed", "mouseReleased"):
            await self.command("Input.dispatchMouseEvent", type=kind, **place)

    async def viewport(self, width: int, height: int, *, mobile: bool = False, scale: float = 1.0) -> None:
        await self.command(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=mobile
        )

    async def prefer(self, feature: str, value: str) -> None:
        """A media feature such as `prefers-color-scheme`."""
        await self.command("Emulation.setEmulatedMedia", features=[{"name": feature, "value": value}])

    async def screenshot(self, path: Path, selector: str = "body") -> None:
        """What is seen of the page, or of one element of it, as PNG."""
        x, y, width, height = await self._box(selector)
        clip: dict[str, Json] = {"x": x, "y": y, "width": width, "height": height, "scale": 1}
        whole = selector == "body"
        data = (await self.command("Page.captureScreenshot", format="png", **({} if whole else {"clip": clip})))["data"]
        assert isinstance(data, str)
        await asyncio.to_thread(path.write_bytes, base64.b64decode(data))

    async def _box(self, selector: str) -> list[float]:
        """Left, top, width and height of an element."""
        box = await self.value(
            f"(() => {{ const box = document.querySelector({json.dumps(selector)}).getBoundingClientRect();"
            " return [box.x, box.y, box.width, box.height]; })()"
        )
        assert isinstance(box, list)
        return [float(number) for number in box if isinstance(number, int | float)]


def _complaint(method: str, params: Mapping[str, Json]) -> str | None:
    """What goes wrong in the page, if that is what the browser tells."""
    entry = params.get("entry")
    match method:
        case "Runtime.exceptionThrown":
            return str(params["exceptionDetails"])
        case "Runtime.consoleAPICalled" if params["type"] in ("error", "warning"):
            return str(params["args"])
        case "Log.entryAdded" if isinstance(entry, dict) and entry["level"] == "error":
            return str(entry["text"])
    return None


@dataclass(frozen=True)
class Browser:
    address: str
    """Of its DevTools."""

    @asynccontextmanager
    async def page(self) -> AsyncIterator[Page]:
        """A blank page in a profile of its own, closed at the end."""
        async with connect(self.address, max_size=LARGEST_MESSAGE, compression=None) as socket:
            page = Page(socket)
            listening = asyncio.create_task(page.listen(), name="browser")
            try:
                context = (await page.command("Target.createBrowserContext", disposeOnDetach=True))["browserContextId"]
                target = await page.command("Target.createTarget", url="about:blank", browserContextId=context)
                attached = await page.command("Target.attachToTarget", targetId=target["targetId"], flatten=True)
                page.session = str(attached["sessionId"])
                for domain in ("Page", "Runtime", "Log"):
                    await page.command(f"{domain}.enable")
                yield page
            finally:
                listening.cancel()
                await asyncio.gather(listening, return_exceptions=True)


@contextmanager
def chromium(microphone: Path) -> Iterator[Browser]:
    """A browser whose microphone plays this WAV file (16 bit) once, from the moment a page opens it. The file may be
    another each time. Raises BrowserError when there is none or it does not start."""
    path = find()
    if path is None:
        raise BrowserError("chromium is not installed")
    with tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True) as profile:
        command = [path, *FLAGS, f"--use-file-for-fake-audio-capture={microphone}%noloop", f"--user-data-dir={profile}"]
        process = subprocess.Popen(
            [*command, "about:blank"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        try:
            yield Browser(_address(Path(profile) / "DevToolsActivePort", process))
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _address(file: Path, process: subprocess.Popen[bytes]) -> str:
    """What the browser writes down as soon as it listens."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        lines = file.read_text().split() if file.exists() else []
        if len(lines) == 2:
            return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
        time.sleep(0.02)
    raise BrowserError("chromium did not start")
