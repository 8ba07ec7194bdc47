"""MediaPipe's own LLM Inference engine, in its form for the web, on this machine: opens .task files in a headless Chromium.

It is the engine of npm's @mediapipe/tasks-genai, WebAssembly and WebGPU, with Chromium's software GPU (SwiftShader), so it
needs no graphics card and gives the same text everywhere; it is slow. It takes the page's files from bundler/web, as
`task-bundler try` does. A bundle's adapter must be merged into it: this engine takes no LoRA files for a .task.
"""

from __future__ import annotations

import itertools
import json
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterator

from bundler.bundle_file import open_bundle
from bundler.errors import BundleError
from bundler.model_context import model_context
from bundler.web_runtime import PAGE, install_runtime, missing_runtime
from bundler.web_server import ServedBundle, bundle_url, serve, site

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    # WebGPU on Vulkan on the CPU: the same numbers on every machine.
    "--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan,WebGPU",
    # A browser that talks to nobody else.
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-domain-reliability",
    "--disable-client-side-phishing-detection", "--metrics-recording-only", "--no-first-run", "--no-pings", "--no-sandbox",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
DEFAULT_CONTEXT = 512  # what the engine takes by itself; for files whose context cannot be read
START_SECONDS = 90
OPEN_SECONDS = 300  # a GPT-2 of 124M parameters takes some ten seconds
STEP_SECONDS = 180  # the longest silence while it writes: reading a long prompt
GOODBYE_SECONDS = 10


class EngineRefusal(BundleError):
    """The engine does not take this file; the message says why, as far as the engine says it."""


@dataclass(frozen=True)
class Placement:
    """Where the engine runs the model's operations. `on_gpu` is how many signatures its GPU delegate took;
    `on_cpu` says for each of them what it left to the CPU and why, and is empty when all runs on the GPU."""

    on_gpu: int
    on_cpu: tuple[str, ...]

    @property
    def all_on_gpu(self) -> bool:
        return self.on_gpu > 0 and not self.on_cpu


class MediaPipeEngine:
    """An open engine. Use `open_mediapipe`, which closes it."""

    def __init__(self, driver: _Driver, path: Path, max_tokens: int, load_seconds: float) -> None:
        self._driver, self.path = driver, path
        self.max_tokens, self.load_seconds, self.browser = max_tokens, load_seconds, driver.browser_version

    def size_in_tokens(self, text: str) -> int:
        """How many tokens the engine makes of `text`; the start token is not counted."""
        return self._driver.ask("sizeInTokens", STEP_SECONDS, text=text)

    def stream(self, prompt: str, max_tokens: int | None = None) -> Iterator[str]:
        """The continuation of `prompt`, one piece a token, until a stop token, `max_tokens`, or the end of the context.

        Raises BundleError with a sentence when the engine fails, for example because the prompt is too long.
        """
        if "\0" in prompt:
            raise BundleError("the prompt holds a NUL character, at which MediaPipe's engine stops reading; remove it")
        yield from self._driver.stream("write", STEP_SECONDS, prompt=prompt, limit=max_tokens)

    def complete(self, prompt: str, max_tokens: int | None = None) -> str:
        return "".join(self.stream(prompt, max_tokens))

    @property
    def console(self) -> list[str]:
        """What the engine printed, oldest first."""
        return self._driver.ask("printed", STEP_SECONDS)

    @property
    def gpu(self) -> dict:
        """`name` of the GPU behind WebGPU, and whether it has `float16`."""
        return self._driver.ask("gpu", STEP_SECONDS)

    @property
    def placement(self) -> Placement:
        return read_placement(self.console)


def read_placement(console: list[str]) -> Placement:
    """From the engine's lines: its GPU delegate lists and counts the operations that it leaves to the CPU, and is silent if there are none."""
    on_gpu, on_cpu, reasons = 0, [], []
    for line in "\n".join(console).splitlines():
        if "external tensors are used for delegate" in line:
            on_gpu += 1
        elif "not supported by GPU delegate" in line:
            reasons = []
        elif match := re.search(r"(\d+|No) operations? will run on the GPU, and \D*(\d+) operations? will run on the CPU", line):
            total = int(match[2]) + (0 if match[1] == "No" else int(match[1]))
            on_cpu.append(f"{match[2]} of {total} operations: {', '.join(reasons)}")
        else:
            reasons.append(line.strip().rstrip(":"))
    return Placement(on_gpu, tuple(on_cpu))


def missing_tools() -> str | None:
    """A sentence that says what to install, or None when the engine can run."""
    if not sys.platform.startswith("linux"):
        return f"MediaPipe's engine is run in a headless Chromium on Linux; this is {sys.platform}. task-bundler try works here"
    if _browser() is None:
        return "Chromium is not installed; MediaPipe's engine runs in it: apt-get install chromium, or name one in the variable CHROMIUM"
    if shutil.which("node") is None:
        return "node is not installed; it drives the browser: apt-get install nodejs npm, or https://nodejs.org (version 18 or newer)"
    return missing_runtime()


def _browser() -> str | None:
    if named := os.environ.get("CHROMIUM"):
        return shutil.which(named)
    return next(filter(None, map(shutil.which, BROWSERS)), None)


@contextmanager
def open_mediapipe(path: Path, max_tokens: int | None = None, *, top_k: int = 1, temperature: float = 1.0, seed: int = 1,
                   force_float32: bool = True) -> Iterator[MediaPipeEngine]:
    """Open a .task file in MediaPipe's engine; `max_tokens` counts prompt, start token and output, None takes the file's context.

    Greedy unless `top_k` is larger than 1. `force_float32` computes in float32 where the engine would take float16 if the
    GPU has it. Raises EngineRefusal with a sentence when the engine refuses the file, which is not looked at before, and
    BundleError when a tool is missing or the browser fails.
    """
    if missing := missing_tools():
        raise BundleError(missing)
    if not path.is_file():
        raise BundleError(f"{path}: no such file; give a .task file")
    max_tokens = max_tokens or _context(path) or DEFAULT_CONTEXT
    packages = install_runtime()
    with serve(site(packages, [ServedBundle(path, path.stem)])) as address, _drive(packages, f"{address}engine.html") as driver:
        try:
            milliseconds = driver.ask("open", OPEN_SECONDS, url=bundle_url(0), options={
                "maxTokens": max_tokens, "topK": top_k, "temperature": temperature, "randomSeed": seed, "forceF32": force_float32})
        except BundleError as error:
            raise EngineRefusal(f"{path}: MediaPipe refuses this file: {error}") from error
        yield MediaPipeEngine(driver, path, max_tokens, milliseconds / 1000)


def _context(path: Path) -> int | None:
    try:
        return model_context(open_bundle(path).model)
    except BundleError:
        return None  # the engine shall say what it thinks of the file


@contextmanager
def _drive(packages: Path, page: str) -> Iterator[_Driver]:
    """Start node and the browser; both, and all they started, are gone when the block ends."""
    with tempfile.TemporaryDirectory(prefix="task-bundler-browser-", ignore_cleanup_errors=True) as folder, \
            open(Path(folder) / "log", "w+", encoding="utf-8", errors="replace") as log:
        settings = {"packages": str(packages), "chromium": _browser(), "flags": FLAGS, "page": page}
        process = subprocess.Popen(
            ["node", str(PAGE / "drive.mjs"), json.dumps(settings)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
            text=True, encoding="utf-8", env={**os.environ, "TMPDIR": folder}, start_new_session=True)
        driver = _Driver(process, Path(log.name))
        try:
            driver.wait_until_ready()
            yield driver
        finally:
            driver.end()


class _Driver:
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
        said = [line for line in self._log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
        return BundleError(f"the headless browser failed: {what}; expected a working {_browser()}" + "".join(f"\n  {line}" for line in said[-6:]))

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
