"""The console script `task-bundler`: names each command's module and turns errors into exit codes.

Exit codes: 0 ok, 1 failure, 2 usage, 3 verification failed.
"""

from __future__ import annotations

import importlib
import io
import os
import re
import shlex
import sys
import traceback
from pathlib import Path

import click

from bundler.commands.console import prepare_streams, with_flags
from bundler.errors import BundleError, OptionError, VerificationError
from bundler.system.signals import interrupt_on_signals, interrupted
from bundler.system.temporary_folder import choose_temporary_place
from gpt2_training.errors import RecipeError, TrainingError, TrainingInterrupted
from lora_weights.errors import LoraError
from tokenizer_tools.errors import TokenizerError
from tokenizer_tools.printable import printable

TRACEBACK = "TASK_BUNDLER_TRACEBACK"  # of the environment: set, errors come with Python's traceback
LONGEST_MESSAGE = 4000  # characters; a name out of a hostile file can have megabytes

# A command's module is imported only when the command is asked for: torch alone takes seconds.
COMMANDS = {
    "build": "bundler.commands.build",
    "run": "bundler.commands.run",
    "verify": "bundler.commands.verify",
    "compare": "bundler.commands.compare",
    "bench": "bundler.commands.bench",
    "try": "bundler.commands.try_",
    "doctor": "bundler.commands.doctor",
    "repack": "bundler.commands.repack",
    "push": "bundler.commands.push",
    "tokenizer": "bundler.commands.tokenizer",
    "lora": "bundler.commands.lora",
    "pretrain": "bundler.commands.pretrain",
    "finetune": "bundler.commands.finetune",
    "sample": "bundler.commands.sample",
}


class LazyGroup(click.Group):
    def list_commands(self, context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        return importlib.import_module(COMMANDS[name]).command

    def resolve_command(
        self, context: click.Context, arguments: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(context, arguments)
        except click.exceptions.NoSuchCommand as error:  # click knows none of ours to suggest
            raise click.exceptions.NoSuchCommand(error.command_name, possibilities=COMMANDS, ctx=context) from None


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="task-bundler")
def task_bundler() -> None:
    """GPT-2 checkpoints to verified on-device bundles: MediaPipe .task and LiteRT-LM .litertlm.

    Example: task-bundler build gpt2_training/sample -o out/sample
    """


# What an installation without extras lacks -> the extra that brings it.
_EXTRAS = {
    **dict.fromkeys(("torch", "litert_torch", "ai_edge_quantizer", "matplotlib"), "build"),
    "peft": "train",
}
# The sample and its adapters come with the packages. Documents call them by their place in the repository.
_SAMPLES = ("gpt2_training/sample", "lora_weights/samples/")


def main() -> None:
    prepare_streams()
    choose_temporary_place()
    interrupt_on_signals()
    try:
        code = _flush(run(sys.argv[1:]))
    except KeyboardInterrupt:  # before the command began, or after it ended
        code = _fail_interrupted()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # native libraries print there when they are unloaded
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code."""
    try:
        arguments = [_installed(argument) for argument in arguments]
        task_bundler.main(arguments, prog_name="task-bundler", standalone_mode=False)
        return 0
    except click.exceptions.Exit as exit_:
        return exit_.exit_code
    except click.ClickException as error:
        usage = io.StringIO()
        error.show(usage)
        _complain(printable(usage.getvalue(), keep="\n"))
        return error.exit_code
    except VerificationError as error:
        return _fail("verification failed", error, 3)
    except (OptionError, RecipeError) as error:
        return _fail("error", error, 2)
    except BrokenPipeError:
        return 1  # who read the output has left, as `head` does
    except (BundleError, TokenizerError, LoraError, TrainingError) as error:
        return _fail("error", error, 1)
    except OSError as error:
        return _fail("error", _said_by_the_system(error), 1)
    except (click.Abort, KeyboardInterrupt) as interruption:
        cause = interruption.__cause__  # click makes an Abort of any KeyboardInterrupt
        if not isinstance(cause, TrainingInterrupted):
            return _fail_interrupted()
        again = shlex.join(["task-bundler", *(argument for argument in arguments if argument != "--restart")])
        _complain(f"interrupted: {printable(str(cause))}; to go on: {printable(again)}\n")
        return 1
    except SystemExit as exit_:  # click and rich, when who read the output has left
        return exit_.code
    except BaseException as error:  # with the panics of libraries in Rust, which are no Exception
        return _fail("error", _explained(error), 1)


def _installed(argument: str) -> str:
    """The path of a sample that came with this package, where the working folder has none of its name."""
    if argument.startswith(_SAMPLES) and not os.path.exists(argument):
        installed = Path(__file__).parents[2] / argument
        return str(installed) if installed.exists() else argument
    return argument


def _said_by_the_system(error: OSError) -> str:
    if error.filename is None or error.strerror is None:
        return error.strerror or str(error)
    name = os.fsdecode(error.filename) if isinstance(error.filename, bytes) else error.filename
    return f"{name}: {error.strerror}; expected a file or folder to read or to write; check the path and its rights"


def _explained(error: BaseException) -> str:
    """A sentence for an error that nobody foresaw."""
    if isinstance(error, ModuleNotFoundError) and (extra := _EXTRAS.get((error.name or "").partition(".")[0])):
        return (
            f"{error.name} is not installed; expected it for this command, which does more than read and run bundles. "
            f"Install what belongs to it: pip install 'task-bundler[{extra}]'"
        )
    if isinstance(error, MemoryError):
        return (
            f"not enough memory ({error or 'no size was said'}); close other programs, or give a smaller model, "
            "context or batch"
        )
    if isinstance(error, RuntimeError) and re.search(
        "not enough memory|out of memory|allocate memory", str(error)
    ):  # torch's allocators
        return _explained(MemoryError(str(error).splitlines()[0]))
    if isinstance(error, RecursionError):
        return (
            "something in a file is nested too deeply to be read; expected a file that its own software wrote; save "
            "it again"
        )
    return (
        f"{type(error).__name__}: {error}. This is a defect of task-bundler, which should have said what is wrong; set "
        f"{TRACEBACK}=1 and run the same again to see where it happened"
    )


def _fail_interrupted() -> int:
    _complain("interrupted; nothing was left half-written\n")
    return 1


def _fail(kind: str, message: object, code: int) -> int:
    if interrupted():
        return _fail_interrupted()
    if os.environ.get(TRACEBACK):
        _complain(traceback.format_exc())
    text = with_flags(str(message), task_bundler)
    if len(text) > LONGEST_MESSAGE:
        text = f"{text[: LONGEST_MESSAGE // 2]} … {text[-LONGEST_MESSAGE // 2 :]}"
    # A line of an error of ours that is not the first is indented; any other line end came with a name.
    _complain(f"task-bundler: {kind}: " + "\n  ".join(map(printable, text.split("\n  "))) + "\n")
    return code


def _complain(text: str) -> None:
    """Write to stderr. Nothing can be said of an error in that, so nothing is."""
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:
        pass


def _flush(code: int) -> int:
    """Have stdout written now, or the interpreter would complain at its end. Returns the exit code."""
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # where the rest goes
        if not isinstance(error, BrokenPipeError):
            return _fail(
                "error",
                f"the standard output could not be written ({error.strerror}); send it to another place",
                code or 1,
            )
    return code
