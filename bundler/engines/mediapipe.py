"""MediaPipe's own LLM Inference engine, in its form for the web, on this machine: opens .task files in a headless
Chromium.

It is the engine of npm's @mediapipe/tasks-genai, WebAssembly and WebGPU, with Chromium's software GPU (SwiftShader), so
it needs no graphics card; it is slow. It takes the page's files from bundler/web, as `task-bundler try` does. A
bundle's adapter must be merged into it: this engine takes no LoRA files for a .task.
"""

from __future__ import annotations

import re
import shutil
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator

from bundler.containers.bundle import open_bundle
from bundler.errors import BundleError
from bundler.tflite.signatures import read_context
from bundler.web.browser import Driver, drive, find_browser
from bundler.web.runtime import install_runtime, missing_runtime
from bundler.web.server import ServedBundle, bundle_url, serve, site

DEFAULT_CONTEXT = 512  # what the engine takes by itself; for files whose context cannot be read
OPEN_SECONDS = 300  # a GPT-2 of 124M parameters takes some ten seconds
STEP_SECONDS = (
    600  # the longest silence while it writes: GPT-2 124M reads a prompt in half a minute, larger ones take longer
)


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

    def __init__(self, driver: Driver, path: Path, max_tokens: int, load_seconds: float) -> None:
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
    """From the engine's lines: its GPU delegate lists and counts the operations that it leaves to the CPU, and is
    silent if there are none.
    """
    on_gpu, on_cpu, reasons = 0, [], []
    for line in "\n".join(console).splitlines():
        if "external tensors are used for delegate" in line:
            on_gpu += 1
        elif "not supported by GPU delegate" in line:
            reasons = []
        elif match := re.search(
            r"(\d+|No) operations? will run on the GPU, and \D*(\d+) operations? will run on the CPU", line
        ):
            total = int(match[2]) + (0 if match[1] == "No" else int(match[1]))
            on_cpu.append(f"{match[2]} of {total} operations: {', '.join(reasons)}")
        else:
            reasons.append(line.strip().rstrip(":"))
    return Placement(on_gpu, tuple(on_cpu))


def missing_tools() -> str | None:
    """A sentence that says what to install, or None when the engine can run."""
    if not sys.platform.startswith("linux"):
        return (
            f"MediaPipe's engine is run in a headless Chromium on Linux; this is {sys.platform}. task-bundler try "
            "works here"
        )
    if find_browser() is None:
        return (
            "Chromium is not installed; MediaPipe's engine runs in it: apt-get install chromium, or name one in the "
            "variable CHROMIUM"
        )
    if shutil.which("node") is None:
        return (
            "node is not installed; it drives the browser: apt-get install nodejs npm, or https://nodejs.org "
            "(version 18 or newer)"
        )
    return missing_runtime()


@contextmanager
def open_mediapipe(
    path: Path,
    max_tokens: int | None = None,
    *,
    top_k: int = 1,
    temperature: float = 1.0,
    seed: int = 1,
    force_float32: bool = True,
) -> Iterator[MediaPipeEngine]:
    """Open a .task file in MediaPipe's engine; `max_tokens` counts prompt, start token and output, None takes the
    file's context.

    Greedy unless `top_k` is larger than 1. `force_float32` computes in float32 where the engine would take float16 if
    the GPU has it. Raises EngineRefusal with a sentence when the engine refuses the file, which is not looked at
    before, and BundleError when a tool is missing or the browser fails.
    """
    if missing := missing_tools():
        raise BundleError(missing)
    if not path.is_file():
        raise BundleError(f"{path}: no such file; give a .task file")
    max_tokens = max_tokens or _context(path) or DEFAULT_CONTEXT
    packages = install_runtime()
    with (
        serve(site(packages, [ServedBundle(path, path.stem)])) as address,
        drive(packages, f"{address}engine.html") as driver,
    ):
        try:
            milliseconds = driver.ask(
                "open",
                OPEN_SECONDS,
                url=bundle_url(0),
                options={
                    "maxTokens": max_tokens,
                    "topK": top_k,
                    "temperature": temperature,
                    "randomSeed": seed,
                    "forceF32": force_float32,
                },
            )
        except BundleError as error:
            raise EngineRefusal(f"{path}: MediaPipe refuses this file: {error}") from error
        yield MediaPipeEngine(driver, path, max_tokens, milliseconds / 1000)


def _context(path: Path) -> int | None:
    try:
        return read_context(open_bundle(path).model)
    except BundleError:
        return None  # the engine shall say what it thinks of the file
