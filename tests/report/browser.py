# SPDX-License-Identifier: Apache-2.0
"""A browser that a test can click and type in: Chromium by its own protocol, over two pipes."""

import fcntl
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
KEYS = {"ArrowLeft": 37, "ArrowRight": 39, "End": 35, "Home": 36, "Enter": 13}


def find_browser() -> str | None:
    """The first browser that is installed."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


class Browser:
    """One page, and hands to use it with."""

    def __init__(self, program: str, folder: Path) -> None:
        ours, theirs = os.pipe(), os.pipe()  # commands to it, answers from it
        # Out of the way of 3 and 4, where the browser looks for them.
        reads, writes = (fcntl.fcntl(fd, fcntl.F_DUPFD, 10) for fd in (ours[0], theirs[1]))

        def lay() -> None:
            os.dup2(reads, 3)
            os.dup2(writes, 4)

        words = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}"]
        self._process = subprocess.Popen(
            [program, *words, "--remote-debugging-pipe", "--window-size=1200,900", "about:blank"],
            preexec_fn=lay,
            close_fds=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for fd in (ours[0], theirs[1], reads, writes):
            os.close(fd)
        self._to = os.fdopen(ours[1], "wb", buffering=0)
        self._from = os.fdopen(theirs[0], "rb", buffering=0)
        self._rest, self._number, self._session = b"", 0, None
        targets = self._ask("Target.getTargets")["targetInfos"]
        page = next(target["targetId"] for target in targets if target["type"] == "page")
        attached = self._ask("Target.attachToTarget", targetId=page, flatten=True)
        self._session = attached["sessionId"]

    def close(self) -> None:
        """End the browser."""
        self._process.terminate()
        self._process.wait(30)
        self._to.close()
        self._from.close()

    def _ask(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        self._to.write(json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self._rest:
                more = self._from.read(65536)
                assert more, f"the browser has gone away during {method}"
                self._rest += more
            answer, _, self._rest = self._rest.partition(b"\0")
            found = json.loads(answer)
            if found.get("id") == self._number:
                assert "error" not in found, found
                return found["result"]

    def open(self, page: Path) -> None:
        """Go to a page and wait until its script has run."""
        self._ask("Page.navigate", url=page.as_uri())
        self.value("new Promise(r => document.readyState === 'complete' ? r() : onload = r)")
        self.value(
            "document.heard = {click: 0, keyup: 0, input: 0, hashchange: 0};"
            " for (const kind in document.heard)"
            " addEventListener(kind, () => ++document.heard[kind], true); 0"
        )

    def value(self, script: str) -> Any:
        """What a script gives."""
        found = self._ask(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def text(self, selector: str) -> str:
        """The words that an element shows."""
        return self.value(f"document.querySelector({json.dumps(selector)}).innerText")

    def click(self, selector: str, along: float = 0.5) -> None:
        """Press and release the mouse on an element, that far along its width."""
        element = f"document.querySelector({json.dumps(selector)})"
        until = time.monotonic() + 60
        while True:
            x, y = self.value(
                f"(() => {{ const e = {element}; e.scrollIntoView({{block: 'center'}});"
                " const r = e.getBoundingClientRect();"
                f" return [r.x + {along} * r.width, r.y + r.height / 2]; }})()"
            )
            # The mouse meets what is drawn, which comes later than what the script sees.
            self._mouse("mouseMoved", x, y)
            if self.value(f"{element}.matches(':hover')"):
                break
            assert time.monotonic() < until, f"the mouse does not reach {selector}"
        leads = f"{element}.closest('a[href]')?.getAttribute('href') ?? location.hash"
        # Where a link leads within the page, the page goes after the click, on its own time.
        goes = self.value(f"((href) => href !== location.hash)({leads})")
        with self._heard("hashchange" if goes else "click"):
            for kind in ("mousePressed", "mouseReleased"):
                self._mouse(kind, x, y, button="left", clickCount=1)

    @contextmanager
    def _heard(self, kind: str) -> Iterator[None]:
        """Wait until the page has heard what is done: it takes another way than scripts."""
        before, until = self.value(f"document.heard.{kind}"), time.monotonic() + 60
        yield
        while self.value(f"document.heard.{kind}") == before:
            assert time.monotonic() < until, f"the page does not hear the {kind}"

    def _mouse(self, kind: str, x: float, y: float, **button: Any) -> None:
        self._ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, **button)

    def press(self, key: str) -> None:
        """Press and release a key."""
        code = KEYS[key]
        with self._heard("keyup"):
            for kind in ("rawKeyDown", "keyUp"):
                self._ask("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code)

    def resize(self, width: int | None) -> None:
        """Take a screen of another width; None for the window's own."""
        if width is None:
            self._ask("Emulation.clearDeviceMetricsOverride")
            return
        size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
        self._ask("Emulation.setDeviceMetricsOverride", **size)

    def type(self, words: str) -> None:
        """Write words where the cursor is."""
        with self._heard("input"):
            self._ask("Input.insertText", text=words)
