"""task-bundler push"""

from __future__ import annotations

from pathlib import Path

import click

from bundler.commands.console import InputPath, Terminal, terminal_options


@click.command("push")
@click.argument("folder", type=InputPath(file_okay=False))
@click.argument("repository", metavar="OWNER/NAME")
@click.option("--private", is_flag=True, help="Make a new repository private.")
@click.option("--message", help="Of the commit.")
@click.option("--dry-run", is_flag=True, help="Check the folder and list what would go up.")
@terminal_options
def command(
    terminal: Terminal, folder: Path, repository: str, private: bool, message: str | None, dry_run: bool
) -> None:
    """Upload FOLDER, the output of a build, to the Hugging Face hub as the model OWNER/NAME.

    Only what the build wrote goes up, unchanged, in one commit; files of yours beside it stay here. README.md, the
    model card, names the owner as who quantized the model.

    Example: task-bundler push out/sample someone/my-model --dry-run
    """
    from bundler.pipeline.push import plan_upload, push

    upload = plan_upload(folder, repository)
    terminal.say(f"{len(upload.files)} files, {upload.bytes:,} bytes, to {repository}")
    url = None
    if dry_run:
        for name in sorted(upload.files):
            terminal.say(f"  {name}")
    else:
        with terminal.stage(f"Uploading to {repository}"):
            url = push(upload, private=private, message=message)
        terminal.say(url)
    terminal.result({"repository": repository, "files": sorted(upload.files), "bytes": upload.bytes, "commit": url})
