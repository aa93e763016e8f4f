"""A headless Chromium, driven through its DevTools protocol over a pair of pipes: no driver, no port, no package."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
from base64 import b64decode
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--remote-debugging-pipe",
)
# The browser reads from descriptor 3 and writes to 4.
_EXEC = "import os, sys; _, i, o, *a = sys.argv; os.dup2(int(i), 3); os.dup2(int(o), 4); os.execv(a[0], a)"
_SETTLED = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done))))"
_CODES = {"Tab": 9, "Enter": 13, "Escape": 27, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}


class Browser:
    """One page, opened from a file. What it says and asks for is recorded.

    Attributes:
        complaints: errors, warnings and messages of the page's console.
        requests: addresses of everything that the page loads.
    """

    def __init__(self, *, width: int = 1400, height: int = 850, dark: bool = False) -> None:
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self._width, self._height, self._scheme = width, height, "dark" if dark else "light"
        self._numbers = itertools.count(1)
        self._session: dict[str, str] = {}
        self._buffer = b""
        self._ending = ExitStack()

    def __enter__(self) -> Self:
        assert CHROMIUM is not None
        with self._ending:
            self._start(CHROMIUM)
            target = self._ask("Target.createTarget", url="about:blank")["targetId"]
            self._session = {
                "sessionId": self._ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            }
            for domain in ("Page", "Runtime", "Log", "Network"):
                self._ask(f"{domain}.enable")
            size = {"width": self._width, "height": self._height, "deviceScaleFactor": 1, "mobile": False}
            self._ask("Emulation.setDeviceMetricsOverride", **size)
            scheme = {"name": "prefers-color-scheme", "value": self._scheme}
            self._ask("Emulation.setEmulatedMedia", features=[scheme])
            self._ending = self._ending.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._ending.close()

    def _start(self, program: str) -> None:
        profile = self._ending.enter_context(TemporaryDirectory(ignore_cleanup_errors=True))
        theirs_in, to = os.pipe()
        from_, theirs_out = os.pipe()
        process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                _EXEC,
                str(theirs_in),
                str(theirs_out),
                program,
                *_FLAGS,
                f"--user-data-dir={profile}",
            ],
            pass_fds=(theirs_in, theirs_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._ending.callback(process.wait, timeout=60)
        self._from = self._ending.enter_context(os.fdopen(from_, "rb"))
        self._to = self._ending.enter_context(os.fdopen(to, "wb"))  # once it is closed, the browser ends

    def open(self, file: Path) -> None:
        """Load a page and wait until all of it is there."""
        self._ask("Page.navigate", url=file.resolve().as_uri())
        self._wait(lambda message: message.get("method") == "Page.loadEventFired")
        self.run(_SETTLED)

    def run(self, script: str) -> Any:
        """The value of an expression in the page; of a promise, what it comes to."""
        found = self._ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def move(self, selector: str) -> tuple[float, float]:
        """Put the mouse onto the middle of the first such element, which is scrolled to; gives the place."""
        found = f"document.querySelector({json.dumps(selector)})"
        self.run(f"{found}.scrollIntoView({{block: 'nearest'}})")
        box = self.run(
            f"(({{x, y, width, height}}) => [x + width / 2, y + height / 2])({found}.getBoundingClientRect())"
        )
        self.mouse("mouseMoved", *box)
        return box[0], box[1]

    def click(self, selector: str) -> None:
        """Click onto the middle of the first such element."""
        x, y = self.move(selector)
        self.mouse("mousePressed", x, y)
        self.mouse("mouseReleased", x, y)

    def mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        """An event of the mouse, of the kinds of `Input.dispatchMouseEvent`."""
        button = {} if kind == "mouseWheel" else {"button": "left", "buttons": int(kind != "mouseReleased")}
        if kind == "mouseMoved" and not more.pop("pressed", False):
            button = {}
        clicks = {"clickCount": 1} if kind in {"mousePressed", "mouseReleased"} else {}
        self._ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, **button, **clicks, **more)
        self.run(_SETTLED)

    def press(self, key: str) -> None:
        """Press and let go a key: Tab, Enter, Escape, an arrow key, or a letter."""
        text = {"text": "\r"} if key == "Enter" else {"text": key} if len(key) == 1 else {}
        code = {"windowsVirtualKeyCode": _CODES[key]} if key in _CODES else {}
        self._ask("Input.dispatchKeyEvent", type="keyDown", key=key, **code, **text)
        self._ask("Input.dispatchKeyEvent", type="keyUp", key=key, **code)
        self.run(_SETTLED)

    def photograph(self, file: Path) -> None:
        """Write what is shown to a PNG file."""
        file.write_bytes(b64decode(self._ask("Page.captureScreenshot")["data"]))

    def _ask(self, method: str, **parameters: Any) -> Any:
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters, **self._session}
        self._to.write(json.dumps(message).encode() + b"\0")
        self._to.flush()
        reply = self._wait(lambda message: message.get("id") == number)
        assert "error" not in reply, reply["error"]
        return reply["result"]

    def _wait(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        while True:
            message = self._read()
            self._note(message)
            if wanted(message):
                return message

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            more = self._from.read1()
            assert more, "the browser has ended"
            self._buffer += more
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def _note(self, message: dict[str, Any]) -> None:
        match message:
            case {"method": "Network.requestWillBeSent", "params": {"request": {"url": url}}}:
                self.requests.append(url)
            case {"method": "Runtime.consoleAPICalled", "params": {"args": arguments}}:
                self.complaints.append(" ".join(str(each.get("value", each)) for each in arguments))
            case {"method": "Runtime.exceptionThrown", "params": {"exceptionDetails": details}}:
                self.complaints.append(str(details))
            case {"method": "Log.entryAdded", "params": {"entry": {"text": text}}}:
                self.complaints.append(text)
