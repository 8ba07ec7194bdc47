"""task-bundler try"""

from __future__ import annotations

import sys
import time
import webbrowser
from pathlib import Path

import click

from bundler.commands.console import BundlePath, Terminal, terminal_options
from tokenizer_tools.printable import printable

EXAMPLE = "def read(self, path):\n    "


@click.command("try")
@click.argument("file", type=BundlePath())
@click.argument("other", required=False, type=BundlePath(), metavar="[FILE2]")
@click.option("--prompt", default=EXAMPLE, show_default="a line of Python", help="What the page starts with.")
@click.option("--port", default=8484, show_default=True, type=click.IntRange(0, 65535), help="0 takes any free one.")
@click.option("--no-browser", is_flag=True, help="Print the address, open nothing.")
@terminal_options
def command(terminal: Terminal, file: Path, other: Path | None, prompt: str, port: int, no_browser: bool) -> None:
    """Play with a .task FILE in the browser, in MediaPipe's own engine (WebGPU); with FILE2, two side by side.

    The page is served to this machine only and loads nothing from outside. MediaPipe's engine for the web is fetched by
    npm the first time, about 95 MB.

    Example: task-bundler try out/sample/sample.task pirate.task --prompt "def "
    """
    from bundler.containers.bundle import open_bundle
    from bundler.tflite.signatures import read_context
    from bundler.web.runtime import install_runtime
    from bundler.web.server import ServedBundle, serve, site

    files = [path for path in (file, other) if path]
    bundles = [
        ServedBundle(path, name, read_context(open_bundle(path).model)) for path, name in zip(files, _names(files))
    ]
    with terminal.stage("Fetching MediaPipe's engine for the web, the first time"):
        packages = install_runtime()
    with serve(site(packages, bundles, prompt), port) as address:
        terminal.result({"address": address, "bundles": [str(path) for path in files]})
        sys.stdout.flush()  # it stays open
        terminal.say(f"{address}  Ctrl-C ends it")
        if not no_browser:
            webbrowser.open(address)
        try:
            # In steps: a signal that the system gave to another thread is seen when this one wakes.
            while True:
                time.sleep(_WAKES)
        except KeyboardInterrupt:
            terminal.say("closed")


_WAKES = 0.5  # seconds


def _names(files: list[Path]) -> list[str]:
    """What to call them: the file's name, with its folder's where two are alike."""
    stems = [path.stem for path in files]
    names = stems if len(set(stems)) == len(stems) else [f"{path.resolve().parent.name}/{path.stem}" for path in files]
    return [printable(name) for name in names]
