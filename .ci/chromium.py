"""Headless Chromium, driven over a pipe by the DevTools protocol: real keys, widths and requests.

Only Debian's `chromium` is needed, no package. `Browser.events` holds console messages, exceptions
and network requests of the page as protocol messages.
"""

import base64
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Self

CHROMIUM = shutil.which("chromium")
OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage",
    "--hide-scrollbars", "--disable-background-networking", "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND", "--remote-debugging-pipe",
)  # fmt: skip
PLACE = """(() => {{
  const box = document.querySelector("{}").getBoundingClientRect();
  return {{ x: box.x + scrollX, y: box.y + scrollY, width: box.width, height: box.height }};
}})()"""
KEYS = {"Tab": 9, "Enter": 13, " ": 32}


class Browser:
    """One browser with one page; a context manager."""

    def __enter__(self) -> Self:
        # Helper processes may still write here shortly after the browser was killed.
        self.profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        theirs, self.write = os.pipe()  # the browser reads at 3
        self.read, its = os.pipe()  # and writes at 4
        shell = f'exec "$0" "$@" 3<&{theirs} 4>&{its}'
        command = ["bash", "-c", shell, CHROMIUM, f"--user-data-dir={self.profile.name}", *OPTIONS]
        self.process = subprocess.Popen(
            command, pass_fds=(theirs, its), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(theirs)
        os.close(its)
        self.answers = os.fdopen(self.read, "rb")
        self.waiting, self.number, self.session = b"", 0, None
        self.events: list[dict[str, Any]] = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        attached = self.send("Target.attachToTarget", targetId=target, flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self.answers.close()
        os.close(self.write)
        self.profile.cleanup()

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Sends one command and returns its result; events received meanwhile are kept."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        message |= {"sessionId": self.session} if self.session else {}
        os.write(self.write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self.waiting:
            part = os.read(self.read, 1 << 16)
            if not part:
                raise RuntimeError("Chromium ended.")
            self.waiting += part
        message, self.waiting = self.waiting.split(b"\0", 1)
        return json.loads(message)

    def open(self, page: Path, *, width: int, height: int = 900, dark: bool = False) -> None:
        """Opens a page at a width in CSS pixels and waits until its charts are drawn."""
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])
        self.events.clear()
        self.send("Page.navigate", url=page.as_uri())
        self.wait("document.documentElement?.dataset.ready")

    def evaluate(self, script: str) -> Any:
        """Returns the value of a script; a promise is awaited."""
        found = self.send(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in found:
            raise RuntimeError(found["exceptionDetails"])
        return found["result"].get("value")

    def wait(self, condition: str) -> None:
        """Waits until a condition holds in the page, at most ten seconds."""
        for _ in range(200):
            if self.evaluate(f"Boolean({condition})"):
                return
            self.evaluate("new Promise((done) => setTimeout(done, 50))")
        raise TimeoutError(condition)

    def press(self, key: str) -> None:
        """Presses a key in the focused element."""
        text = {"Enter": "\r", " ": " "}.get(key)
        common = {"key": key, "code": key, "windowsVirtualKeyCode": KEYS[key]}
        self.send(
            "Input.dispatchKeyEvent", type="keyDown", **common, **({"text": text} if text else {})
        )
        self.send("Input.dispatchKeyEvent", type="keyUp", **common)

    def type(self, text: str) -> None:
        """Types a text into the focused element."""
        self.send("Input.insertText", text=text)

    def photograph(self, path: Path, selector: str = "") -> None:
        """Writes a picture of the window, or of one element at its full height."""
        options: dict[str, Any] = {}
        if selector:
            place = self.evaluate(PLACE.format(selector))
            options = {"clip": place | {"scale": 1}, "captureBeyondViewport": True}
        picture = self.send("Page.captureScreenshot", format="png", **options)
        path.write_bytes(base64.b64decode(picture["data"]))

    def complaints(self) -> list[str]:
        """Returns console messages, exceptions and log entries since the page was opened."""
        noisy = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")
        return [json.dumps(one["params"]) for one in self.events if one["method"] in noisy]

    def requests(self) -> list[str]:
        """Returns the requested addresses since the page was opened, including its own."""
        return [
            one["params"]["request"]["url"]
            for one in self.events
            if one["method"] == "Network.requestWillBeSent"
        ]
