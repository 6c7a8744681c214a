"""A headless Chromium, driven by its DevTools protocol: what a person would do with a page, and what they would see."""

from __future__ import annotations

import base64
import io
import json
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
OPTIONS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --use-angle=swiftshader --enable-unsafe-swiftshader "
    "--remote-debugging-port=0 --mute-audio --hide-scrollbars "
    "--use-fake-device-for-media-stream --use-fake-ui-for-media-stream --allow-file-access-from-files"
).split()
_COUNTED = """
window.pictures = [];
const made = URL.createObjectURL;
URL.createObjectURL = (blob) => {
  if (blob.type === "image/jpeg") window.pictures.push({ at: performance.now(), blob });
  return made(blob);
};
window.moves = [];
Worker.prototype.dispatchEvent = function (event) {
  if (event.data && event.data.onTheWay) window.moves.push(performance.now());
  return EventTarget.prototype.dispatchEvent.call(this, event);
};
"""
"""Keeps each picture that the page shows, with the time it came, and when frames moved the bones of an overlay."""


def find_chromium() -> str | None:
    """The program, or None where there is none."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


@contextmanager
def open_page(address: str, width: int = 900, height: int = 700) -> Iterator[Page]:
    """A page in a browser of its own.

    Args:
        address: to open.
        width, height: of the window, in pixels.
    """
    from websockets.sync.client import connect

    program = find_chromium()
    assert program is not None
    with tempfile.TemporaryDirectory() as folder:
        command = [program, *OPTIONS, f"--user-data-dir={folder}", f"--window-size={width},{height}", "about:blank"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            # Whoever drives may compute for a minute in between, without an answer to the browser's pings.
            with connect(_socket_address(Path(folder)), max_size=None, ping_interval=None) as socket:
                page = Page(socket, Path(folder) / "downloads")
                page.go_to(address)
                yield page
        finally:
            process.kill()
            process.wait()
            time.sleep(0.3)  # Its children write into the folder for a moment longer.


def _socket_address(folder: Path, seconds: float = 60) -> str:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            port = (folder / "DevToolsActivePort").read_text().split()[0]
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=10) as answer:
                pages = [one for one in json.load(answer) if one["type"] == "page"]
            if pages:
                return str(pages[0]["webSocketDebuggerUrl"])
        except (OSError, IndexError):
            pass
        time.sleep(0.05)
    raise TimeoutError("Chromium did not start")


class Page:
    """What is open in the browser.

    Args:
        socket: to its DevTools.
        downloads: the folder that files are saved in.
    """

    def __init__(self, socket: Any, downloads: Path) -> None:
        self.downloads = downloads
        self.requests: list[str] = []
        """Addresses that the page has asked for."""
        self.complaints: list[str] = []
        """Errors in the page, and what its own policy has refused."""
        self._socket = socket
        self._number = 0
        for domain in ("Page", "Runtime", "Network", "Log", "DOM"):
            self.command(f"{domain}.enable")
        self.command("Page.addScriptToEvaluateOnNewDocument", source=_COUNTED)
        downloads.mkdir()
        self.command("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(downloads))

    def command(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Sends a command of the protocol, and gives its result."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(timeout=60))
            if message.get("id") == self._number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']['message']}")
                return dict(message["result"])
            self._note(message)

    def _note(self, event: dict[str, Any]) -> None:
        details = event.get("params", {})
        if event["method"] == "Network.requestWillBeSent":
            self.requests.append(details["request"]["url"])
        elif event["method"] == "Network.webSocketCreated":
            self.requests.append(details["url"])
        elif event["method"] == "Runtime.exceptionThrown":
            self.complaints.append(str(details["exceptionDetails"].get("exception", details)))
        elif event["method"] == "Log.entryAdded" and details["entry"]["level"] == "error":
            self.complaints.append(f"{details['entry']['text']} {details['entry'].get('url', '')}")

    def go_to(self, address: str) -> None:
        """Opens an address."""
        self.command("Page.navigate", url=address)

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression; of a promise, what it gives."""
        result = self.command("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in result:
            raise RuntimeError(str(result["exceptionDetails"]))
        return result["result"].get("value")

    def wait(self, script: str, seconds: float = 60) -> Any:
        """Waits until an expression is true, and gives its value."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            value = self.run(script)
            if value:
                return value
            time.sleep(0.05)
        raise TimeoutError(f"not true within {seconds:g} seconds: {script}")

    # What one sees ----------------------------------------------------------------------------------------------------

    def screenshot(self) -> np.ndarray:
        """The whole window, (height, width, 3), 8 bits."""
        return _decoded(self.command("Page.captureScreenshot", format="png")["data"])

    def last_picture(self) -> np.ndarray:
        """The last picture that the page was sent, as it came."""
        encoded = self.run(
            "(async () => { const { blob } = window.pictures.at(-1); const bytes = new Uint8Array(await "
            "blob.arrayBuffer()); let text = ''; for (const one of bytes) text += String.fromCharCode(one); "
            "return btoa(text); })()"
        )
        return _decoded(encoded)

    def still_picture(self, side: int, seconds: float = 120, quiet: float = 1.0) -> np.ndarray:
        """The picture after which no other one comes for a while.

        Args:
            side: its longer side, in pixels: smaller ones come while something moves.
            seconds: to wait for it.
            quiet: how long no other one comes, in seconds.
        """
        end = time.monotonic() + seconds
        self.wait("window.pictures && window.pictures.length > 0", seconds)
        while time.monotonic() < end:
            if self.run("performance.now() - window.pictures.at(-1).at") > 1000 * quiet:
                picture = self.last_picture()
                if max(picture.shape) == side:
                    return picture
            time.sleep(0.1)
        raise TimeoutError(f"no picture of {side} pixels stayed")

    def pictures_during(self, seconds: float) -> list[tuple[float, int]]:
        """Time in seconds and longer side in pixels of each picture that comes from now on."""
        start = self.run("performance.now()")
        time.sleep(seconds)
        found = self.run(
            f"Promise.all(window.pictures.filter((one) => one.at >= {start}).map(async (one) => {{ const map = await "
            "createImageBitmap(one.blob); return [one.at / 1000, Math.max(map.width, map.height)]; }))"
        )
        return [(float(at), int(side)) for at, side in found]

    # What one does ----------------------------------------------------------------------------------------------------

    def press(self, key: str, code: str = "", number: int = 0, text: str = "") -> None:
        """Presses a key and lets it go."""
        for kind in ("keyDown", "keyUp"):
            options = {"key": key, "code": code or key, "windowsVirtualKeyCode": number}
            self.command("Input.dispatchKeyEvent", type=kind, **options, **({"text": text} if text else {}))

    def hold(self, key: str, number: int, seconds: float) -> None:
        """Holds a key down for a while."""
        options = {"key": key, "code": key, "windowsVirtualKeyCode": number}
        self.command("Input.dispatchKeyEvent", type="keyDown", **options)
        time.sleep(seconds)
        self.command("Input.dispatchKeyEvent", type="keyUp", **options)

    def tick(self, label: str) -> None:
        """Clicks a checkbox by its label."""
        self.click(label, "label")

    def click(self, label: str, role: str = "button") -> None:
        """Clicks what bears a label: a `button`, or another role such as `[role=tab]`."""
        # Options of dropdowns that are closed are hidden.
        one = (
            f"[...document.querySelectorAll('{role}')].find((one) => one.textContent.trim() === {json.dumps(label)} "
            "&& (one.role !== 'option' || one.offsetParent !== null))"
        )
        self.wait(f"!!{one}")
        self.run(f"{one}.click()")

    def unfold(self, label: str) -> None:
        """Opens a folder of the panel."""
        self.click(label, "[class*=folderLabel], .mantine-Paper-root .mantine-Paper-root")

    def type_number(self, label: str, value: float) -> None:
        """Types a number into the field beside a slider's name."""
        self.type_text(label, str(value), "input[type=text]")
        self.press("Enter", number=13)

    def type_text(self, label: str, text: str, kind: str = "input") -> None:
        """Types a text into the field beside its name."""
        field = self._field(label, kind)
        self.run(f"(({field}).focus(), ({field}).select())")
        self.command("Input.insertText", text=text)

    def choose(self, label: str, option: str) -> None:
        """Chooses from a dropdown."""
        field = self._field(label, "input")
        self.run(f"({field}).click()")
        self.click(option, "[role=option]")

    def _field(self, label: str, kind: str) -> str:
        """Waits for the field beside a label, and says how a script finds it."""
        field = (
            f"[...document.querySelectorAll('label')].filter((one) => one.textContent.trim() === {json.dumps(label)})"
            f".map((one) => one.closest('div').parentElement.querySelector('{kind}'))"
            ".find((one) => one && one.offsetParent !== null)"
        )
        self.wait(f"!!({field})")
        return field

    def upload(self, path: Path, number: int = 0) -> None:
        """Gives a file to one of the page's upload buttons, which are counted from 0."""
        document = self.command("DOM.getDocument")["root"]["nodeId"]
        inputs = self.command("DOM.querySelectorAll", nodeId=document, selector="input[type=file]")["nodeIds"]
        self.command("DOM.setFileInputFiles", files=[str(path)], nodeId=inputs[number])

    def drag(self, start: tuple[float, float], end: tuple[float, float], seconds: float, steps: int = 40) -> None:
        """Drags the mouse from one point of the window to another one, in pixels."""
        self._mouse("mousePressed", *start)
        for step in range(1, steps + 1):
            share = step / steps
            self._mouse("mouseMoved", *(a + (b - a) * share for a, b in zip(start, end, strict=True)))
            time.sleep(seconds / steps)
        self._mouse("mouseReleased", *end)

    def _mouse(self, kind: str, x: float, y: float) -> None:
        self.command("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)


def _decoded(encoded: str) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGB"))
