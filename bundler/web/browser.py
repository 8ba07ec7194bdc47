"""A headless Chromium with WebGPU in software, and the node script that drives it: requests and answers as JSON
lines.
"""

from __future__ import annotations

import itertools
import json
import os
import queue
import shutil
import signal
import subprocess
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator

from bundler.errors import BundleError
from bundler.system.temporary_folder import temporary_folder
from bundler.web.runtime import PAGE

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    # WebGPU on Vulkan on the CPU: no graphics card is needed.
    "--enable-unsafe-webgpu",
    "--use-webgpu-adapter=swiftshader",
    "--enable-features=Vulkan,WebGPU",
    # A browser that talks to nobody but our server, and shows nothing else: it can do without its sandbox, which root
    # cannot have.
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-domain-reliability",
    "--disable-client-side-phishing-detection",
    "--metrics-recording-only",
    "--no-first-run",
    "--no-pings",
    "--no-sandbox",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
START_SECONDS = 90
GOODBYE_SECONDS = 10


def find_browser() -> str | None:
    """The path of Chromium: what the variable CHROMIUM names, else one on the path."""
    if named := os.environ.get("CHROMIUM"):
        return shutil.which(named)
    return next(filter(None, map(shutil.which, BROWSERS)), None)


@contextmanager
def drive(packages: Path, page: str) -> Iterator[Driver]:
    """Start node and the browser; both, and all they started, are gone when the block ends."""
    with (
        temporary_folder("browser") as folder,
        open(Path(folder) / "log", "w+", encoding="utf-8", errors="replace") as log,
    ):
        settings = {"packages": str(packages), "chromium": find_browser(), "flags": FLAGS, "page": page}
        process = subprocess.Popen(
            ["node", str(PAGE / "drive.mjs"), json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            encoding="utf-8",
            env={**os.environ, "TMPDIR": folder},
            start_new_session=True,
        )
        driver = Driver(process, Path(log.name))
        try:
            driver.wait_until_ready()
            yield driver
        finally:
            driver.end()


class Driver:
    """Requests to drive.mjs and its answers, which a thread sorts by request."""

    browser_version = ""

    def __init__(self, process: subprocess.Popen, log: Path) -> None:
        self._process, self._log = process, log
        self._numbers = itertools.count(1)
        self._answers: dict[int | str, queue.SimpleQueue] = {"start": queue.SimpleQueue()}
        self._browser_group: int | None = None
        self._gone: str | None = None
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self._process.stdout:
            message = json.loads(line)
            if "browser" in message:
                self._browser_group = message["browser"]  # it leads a process group of its own
            elif "gone" in message:
                return self._end_all(message["gone"])
            elif waiting := self._answers.get(message.get("id", "start")):
                waiting.put(message)
        self._end_all("the driver ended")

    def _end_all(self, reason: str) -> None:
        self._gone = reason
        for waiting in list(self._answers.values()):
            waiting.put({"gone": reason})

    def wait_until_ready(self) -> None:
        self.browser_version = self._next("start", START_SECONDS)["ready"]

    def ask(self, action: str, seconds: float, **fields: Any) -> Any:
        number = self._send(action, fields)
        try:
            return self._next(number, seconds)["value"]
        finally:
            del self._answers[number]

    def stream(self, action: str, seconds: float, **fields: Any) -> Iterator[str]:
        number = self._send(action, fields)
        ended = False
        try:
            while "piece" in (message := self._next(number, seconds)):
                yield message["piece"]
            ended = True
        except BundleError:
            ended = True
            raise
        finally:
            if not ended:  # whoever read the pieces has left
                self.ask("stop", seconds)
                while "piece" in self._next(number, seconds):
                    pass
            del self._answers[number]

    def _send(self, action: str, fields: dict) -> int:
        number = next(self._numbers)
        self._answers[number] = queue.SimpleQueue()
        try:
            if self._gone:
                raise BrokenPipeError
            self._process.stdin.write(json.dumps({"id": number, "do": action, **fields}) + "\n")
            self._process.stdin.flush()
        except (BrokenPipeError, ValueError) as error:
            raise self._failure(self._gone or "the driver ended") from error
        return number

    def _next(self, number: int | str, seconds: float) -> dict:
        try:
            message = self._answers[number].get(timeout=seconds)
        except queue.Empty:
            raise self._failure(f"no answer for {seconds} s") from None
        if "gone" in message:
            raise self._failure(message["gone"])
        if "error" in message:
            raise BundleError(message["error"])
        return message

    def _failure(self, what: str) -> BundleError:
        lines = [line for line in self._log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
        return BundleError(
            f"the headless browser failed: {what}; expected a working {find_browser()}"
            + "".join(f"\n  {line}" for line in lines[-6:])
        )

    def end(self) -> None:
        try:
            self._process.stdin.close()
            self._process.wait(GOODBYE_SECONDS)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            pass
        for group in (self._browser_group, self._process.pid):
            try:
                if group:
                    os.killpg(group, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self._process.wait()
        self._process.stdout.close()
