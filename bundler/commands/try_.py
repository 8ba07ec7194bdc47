"""task-bundler try"""

from __future__ import annotations

import sys
import threading
import time
import webbrowser
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Callable

import click

from bundler.commands.console import BundlePath, InputPath, Terminal, terminal_options
from bundler.errors import BundleError
from bundler.system.output_folder import staged_folder
from lora_weights.errors import LoraError
from tokenizer_tools.printable import printable

if TYPE_CHECKING:
    from bundler.web.server import ServedBundle

EXAMPLE = "def read(self, path):\n    "
_WAKES = 0.5  # seconds


@click.command("try")
@click.argument("file", type=BundlePath())
@click.argument("other", required=False, type=BundlePath(), metavar="[FILE2]")
@click.option("--prompt", default=EXAMPLE, show_default="a line of Python", help="What the page starts with.")
@click.option(
    "--adapter",
    "adapters",
    multiple=True,
    type=InputPath(),
    help="Adapter file or PEFT folder, to be chosen in the page. May be given several times. [default: those in the "
    "folder adapters/ beside FILE]",
)
@click.option("--port", default=8484, show_default=True, type=click.IntRange(0, 65535), help="0 takes any free one.")
@click.option("--no-browser", is_flag=True, help="Print the address, open nothing.")
@click.option(
    "--export",
    type=click.Path(path_type=Path),
    help="Write the page with its bundles to this folder, for a web host, and end.",
)
@click.option("--force", is_flag=True, help="Replace an --export folder that exists.")
@terminal_options
def command(
    terminal: Terminal,
    file: Path,
    other: Path | None,
    prompt: str,
    adapters: tuple[Path, ...],
    port: int,
    no_browser: bool,
    export: Path | None,
    force: bool,
) -> None:
    """Play with FILE in the browser, in MediaPipe's own engine (WebGPU); with FILE2, two side by side.

    The page is served to this machine only and loads nothing from outside. An adapter is merged when it is chosen. A
    .litertlm file is repacked as a .task first, where that can be done. MediaPipe's engine for the web is fetched by
    npm the first time, about 95 MB.

    Example: task-bundler try out/sample/sample.task --prompt "def "
    """
    from bundler.system.temporary_folder import temporary_folder
    from bundler.web.runtime import install_runtime, runtime_folder
    from bundler.web.server import serve, site

    files = [path for path in (file, other) if path]
    with temporary_folder("try") as folder:
        bundles = [
            _served(terminal, path, name, adapters, folder / str(index))
            for index, (path, name) in enumerate(zip(files, _names(files)))
        ]
        fetching = "Fetching MediaPipe's engine for the web, the first time"
        with nullcontext() if runtime_folder().is_dir() else terminal.stage(fetching):
            packages = install_runtime()
        pages = site(packages, bundles, prompt)
        if export is not None:
            from bundler.web.export import write_site

            with terminal.stage("Writing the page"), staged_folder(export, force, [*files, *adapters]) as staged:
                written = [str(export / path.relative_to(staged)) for path in write_site(pages, staged)]
            terminal.show(f"{export}: {len(written)} files; README.md says how to host them")
            terminal.result({"folder": str(export), "files": written})
            return
        with serve(pages, port) as address:
            terminal.result({"address": address, "bundles": [str(path) for path in files]})
            sys.stdout.flush()  # it stays open
            try:
                terminal.say(f"{address}  Ctrl-C ends it")
                if not no_browser:
                    webbrowser.open(address)
                # In steps: a signal that the system gave to another thread is seen when this one wakes.
                while True:
                    time.sleep(_WAKES)
            except KeyboardInterrupt:
                terminal.say("closed")


def _served(terminal: Terminal, path: Path, name: str, adapters: tuple[Path, ...], folder: Path) -> ServedBundle:
    """A bundle for the page, repacked if it is a .litertlm, with the adapters that can be merged into it."""
    from bundler.containers.bundle import is_litertlm, open_bundle
    from bundler.containers.lora_manifest import base_of_bundle
    from bundler.lora.merge_bundle import adapter_for_merging
    from bundler.tflite.signatures import read_context
    from bundler.web.server import ServedBundle

    folder.mkdir()
    task = path
    if is_litertlm(path):
        task = _repacked(terminal, path, folder / f"{path.stem}.task")
    bundle, merged = open_bundle(task), {}
    for adapter in adapters or sorted(path.parent.glob("adapters/*.tflite")):
        if adapter.stem == "zero" and not adapters:
            continue
        try:
            adapter_for_merging(adapter, base_of_bundle(bundle))
        except (BundleError, LoraError):
            if adapters:
                raise
            continue  # found, not given
        merged[printable(adapter.stem)] = _merging(terminal, task, adapter, folder / f"{len(merged)}.task")
    return ServedBundle(task, name, read_context(bundle.model), merged)


def _repacked(terminal: Terminal, path: Path, output: Path) -> Path:
    from bundler.pipeline.repack import repack

    terminal.say(
        f"{path} is a .litertlm, which MediaPipe's engine for the web does not open: it is repacked as a .task",
        soft_wrap=True,
    )
    try:
        return repack(path, output, stage=terminal.stage).output
    except BundleError as error:
        beside = path.with_suffix(".task")
        hint = f"\n  There is a .task beside it: task-bundler try {beside}" if beside.is_file() else ""
        raise BundleError(f"{error}{hint}") from error


def _merging(terminal: Terminal, task: Path, adapter: Path, output: Path) -> Callable[[], Path]:
    """Merges the adapter the first time it is called; the file is kept."""
    from bundler.containers.bundle import open_bundle
    from bundler.containers.lora_manifest import base_of_bundle
    from bundler.lora.merge_bundle import adapter_for_merging, merge_into_bundle

    lock = threading.Lock()  # the page may ask twice

    def merge() -> Path:
        with lock:
            if not output.exists():
                try:
                    merge_into_bundle(task, adapter_for_merging(adapter, base_of_bundle(open_bundle(task))), output)
                except (BundleError, LoraError, OSError) as error:
                    terminal.say(f"{adapter} cannot be merged: {error}")
                    raise BundleError(str(error)) from error
                terminal.say(f"{adapter} merged into {task.name}", style="dim")
            return output

    return merge


def _names(files: list[Path]) -> list[str]:
    """What to call them: the file's name, with its folder's where two are alike."""
    stems = [path.stem for path in files]
    names = stems if len(set(stems)) == len(stems) else [f"{path.resolve().parent.name}/{path.stem}" for path in files]
    return [printable(name) for name in names]
