"""A folder that appears whole or not at all, however its writing ends, and replaces nothing but what we wrote.

One rule for every command that writes a folder: what is replaced are the files that our own list of them names with
their hashes (see written_files.py). Any other file there is a reason to refuse, before the work and once more after it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shutil
from pathlib import Path
from typing import Iterable, Iterator

from bundler.errors import BundleError, OptionError
from bundler.system.atomic_file import sync_folder
from bundler.system.file_lock import lock
from bundler.system.full_disk import out_of_room_explained
from bundler.system.signals import signals_later
from bundler.system.written_files import LEDGER, foreign_files, remove_written, write_ledger

_LOCK_TEXT = b"task-bundler\n"
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # linux/fcntl.h, linux/fs.h
# What a file system answers that cannot exchange two folders.
_NO_EXCHANGE = (errno.EINVAL, errno.ENOSYS, errno.EXDEV, errno.ENOTSUP)


def check_output(output: Path, force: bool, inputs: Iterable[Path] = (), texts: Iterable[Path] = ()) -> None:
    """Refuse early an output that exists (without `force`), cannot be made, or would cost somebody a file.

    `inputs` are the files and folders that the work reads; the output may not be one of them or hold one. `texts` are
    read with everything below them, so the output may not lie in one either. Raises OptionError or BundleError; writes
    nothing.
    """
    _check_place(output, list(inputs), list(texts))
    _check_content(output, force)
    parent = output.absolute().parent
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise OptionError(f"{output}: {parent} is not a folder one may write to; give another output")


def check_output_file(output: Path, force: bool, inputs: Iterable[Path] = ()) -> None:
    """Refuse early an output file that exists (without `force`), is no plain file, or is one of `inputs`. Raises
    OptionError.
    """
    if output.is_symlink() or (output.exists() and not output.is_file()):
        raise OptionError(f"{output} is {_kind(output)}; expected a file to write, or a name that is free")
    if output.exists() and not force:
        raise OptionError(f"{output} exists; add `force` to replace it, or give another output")
    if not output.absolute().parent.is_dir():
        raise OptionError(f"{output}: {output.absolute().parent} is no folder; make it first, or give another output")
    for path in inputs:
        if output.exists() and path.exists() and output.samefile(path):
            raise OptionError(f"{output} is an input of this command, which would be lost; give another output")


@contextlib.contextmanager
def staged_folder(
    output: Path, force: bool = False, inputs: Iterable[Path] = (), texts: Iterable[Path] = ()
) -> Iterator[Path]:
    """Yield an empty folder beside `output` that takes its place when the block ends well, and is removed when not.

    The output is checked as `check_output` does, before and after the work. From before until the end it is locked, so
    of two commands that write the same output the second is refused. The folder's name is fixed: what a killed process
    left behind is found and cleared by the next. A list of the files with their hashes is added (SHA256SUMS); by it the
    folder is known as ours later. A folder of ours at `output` is exchanged for the new one in one step where the file
    system can.
    """
    inputs, texts = list(inputs), list(texts)
    check_output(output, force, inputs, texts)
    with out_of_room_explained(output), _locked(output):
        partial, replaced = _beside(output, "partial"), _beside(output, "replaced")
        if replaced.is_dir() and not output.exists():  # killed between two renames
            os.rename(replaced, output)
        _clear(replaced)
        _clear(partial)
        _check_content(output, force)
        try:
            partial.mkdir()
            yield partial
            write_ledger(partial)
            _check_place(output, inputs, texts)
            _check_content(output, force)
            with signals_later():
                _put_in_place(partial, output, replaced)
        finally:
            with signals_later():
                _clear(partial)


def _beside(output: Path, role: str) -> Path:
    return output.with_name(f".{output.name}.{role}")


def _check_place(output: Path, inputs: list[Path], texts: list[Path]) -> None:
    if output.name == "..":
        raise OptionError(f"{output} ends in '..'; expected the name of a folder to write")
    if output.is_symlink() or (output.exists() and not output.is_dir()):
        raise OptionError(f"{output} is {_kind(output)}; expected a folder to write, or a name that is free")
    real = Path(os.path.realpath(output))
    kept = [
        ("the root folder", Path("/")),
        ("the working folder", Path.cwd()),
        ("your home folder", Path(os.path.expanduser("~"))),
        *(("an input of this command", path) for path in (*inputs, *texts) if path.exists()),
    ]
    for what, path in kept:
        path = Path(os.path.realpath(path))
        if real == path or real in path.parents:
            raise OptionError(
                f"{output} {'is' if real == path else f'holds {path},'} {what}; expected a folder of its own; give "
                "another output"
            )
    for path in texts:
        if path.is_dir() and Path(os.path.realpath(path)) in real.parents:
            raise OptionError(
                f"{output} lies in {path}, an input of this command, and would be read as a part of it; give an output "
                "outside"
            )
    if (output / ".git").exists():
        raise OptionError(f"{output} is a Git repository; expected a folder of its own; give another output")


def _check_content(output: Path, force: bool) -> None:
    if not output.is_dir() or not any(output.iterdir()):
        return
    if not force:
        raise OptionError(f"{output} exists and is not empty; add `force` to replace it, or give another output")
    if foreign := foreign_files(output):
        more = f" and {len(foreign) - 3} more" if len(foreign) > 3 else ""
        raise OptionError(
            f"{output} holds {', '.join(foreign[:3])}{more}, which task-bundler did not write or which changed since; "
            "replacing the folder would delete it; move it away, or give another output"
        )


def _kind(path: Path) -> str:
    return (
        "a symbolic link"
        if path.is_symlink()
        else "a folder"
        if path.is_dir()
        else "a file"
        if path.is_file()
        else "no plain file"
    )


@contextlib.contextmanager
def _locked(output: Path) -> Iterator[None]:
    """Hold a lock file beside the output; only where one of ours is or was do its neighbors belong to us."""
    path = _beside(output, "lock")
    if not path.exists():
        for neighbor in (_beside(output, "partial"), _beside(output, "replaced")):
            if neighbor.exists() or neighbor.is_symlink():
                raise OptionError(
                    f"{neighbor} is in the way, and was not written by task-bundler; move it away, or give another "
                    "output"
                )
    elif path.is_symlink() or not path.is_file() or path.read_bytes() not in (b"", _LOCK_TEXT):
        raise OptionError(
            f"{path} is in the way, and was not written by task-bundler; move it away, or give another output"
        )
    made = [parent for parent in output.parents if not parent.exists()]
    descriptor = None
    try:
        with signals_later():  # within the try: one that waited is raised where the lock is removed
            try:
                output.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise OptionError(
                    f"{output}: {error.filename} cannot be made ({error.strerror}); give an output where you may write"
                ) from error
            descriptor = lock(path, os.O_RDWR | os.O_CREAT)
            if descriptor is None:
                raise BundleError(f"another command is writing {output}; wait for it, or give another output")
            os.pwrite(descriptor, _LOCK_TEXT, 0)
        yield
    finally:
        with signals_later():
            if descriptor is not None:
                path.unlink(missing_ok=True)
                os.close(descriptor)
            with contextlib.suppress(
                OSError
            ):  # of the folders made for an output that did not come about, the empty ones go
                for parent in made:
                    parent.rmdir()


def _clear(folder: Path) -> None:
    """Remove a folder that a lock of ours stood beside. One with a list is an output of ours, old or new: it goes by
    its list.
    """
    if (folder / LEDGER).exists():
        if left := remove_written(folder):
            raise BundleError(f"{folder} holds {left[0]}, which task-bundler did not write; move it away")
    elif folder.is_dir() and not folder.is_symlink():
        shutil.rmtree(folder)


def _put_in_place(partial: Path, output: Path, replaced: Path) -> None:
    """Rename `partial` to `output`; a folder that is there comes to lie at `partial`, or at `replaced` on the way."""
    for path in partial.rglob("*"):
        if path.is_dir():
            sync_folder(path)
        else:
            _sync_file(path)
    sync_folder(partial)
    if not output.is_dir() or not any(output.iterdir()):
        os.replace(partial, output)
    elif not _exchange(partial, output):
        os.rename(output, replaced)
        os.rename(partial, output)
        _clear(replaced)
    sync_folder(output.parent)


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _exchange(first: Path, second: Path) -> bool:
    """Let two folders change places in one step; False where the system or the file system cannot."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:
        return False
    if rename(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE) == 0:
        return True
    if (number := ctypes.get_errno()) in _NO_EXCHANGE:
        return False
    raise OSError(number, os.strerror(number), str(second))
