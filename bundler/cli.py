"""The console script `task-bundler`: names each command's module and turns errors into exit codes.

Exit codes: 0 ok, 1 failure, 2 usage, 3 verification failed.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys

import click

from bundler.errors import BundleError, OptionError, VerificationError
from gpt2_training.errors import TrainingError
from lora_weights.errors import LoraError
from tokenizer_tools.errors import TokenizerError

# A command's module is imported only when the command is asked for: torch alone takes seconds.
COMMANDS = {
    "build": "bundler.commands.build",
    "run": "bundler.commands.run",
    "verify": "bundler.commands.verify",
    "try": "bundler.commands.try_",
    "doctor": "bundler.commands.doctor",
    "repack": "bundler.commands.repack",
    "tokenizer": "bundler.commands.tokenizer",
    "lora": "bundler.commands.lora",
    "pretrain": "bundler.commands.pretrain",
    "sample": "bundler.commands.sample",
}


class LazyGroup(click.Group):
    def list_commands(self, context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        return importlib.import_module(COMMANDS[name]).command


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="task-bundler")
def task_bundler() -> None:
    """GPT-2 checkpoints to verified on-device bundles: MediaPipe .task and LiteRT-LM .litertlm.

    Example: task-bundler build gpt2_training/sample -o out/sample
    """


def main() -> None:
    interrupt_on_signals()
    code = run(sys.argv[1:])
    sys.stderr.flush()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # native libraries take leave there
    sys.exit(code)


def interrupt_on_signals() -> None:
    """Let SIGTERM and SIGHUP end the work as Ctrl-C does, so that it clears up; a second one does not disturb that."""
    def interrupt(number: int, frame: object) -> None:
        for ending in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(ending, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_DFL:  # nohup has SIGHUP ignored
            signal.signal(number, interrupt)


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code."""
    try:
        task_bundler.main(arguments, prog_name="task-bundler", standalone_mode=False)
        return 0
    except click.exceptions.Exit as exit_:
        return exit_.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except VerificationError as error:
        return _fail("verification failed", error, 3)
    except OptionError as error:
        return _fail("error", error, 2)
    except (BundleError, TokenizerError, LoraError, TrainingError, OSError) as error:
        return _fail("error", error, 1)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted; nothing was left half-written", err=True)
        return 1


def _fail(kind: str, error: Exception, code: int) -> int:
    click.echo(f"task-bundler: {kind}: {error}", err=True)
    return code
