"""A text read by a bundle's model and by PyTorch side by side, in several processes."""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Iterable, Iterator

from bundler.checkpoints.checkpoint import Checkpoint, open_checkpoint
from bundler.containers.tokenizer import BundleTokenizer, Ids
from bundler.errors import BundleError
from bundler.system.isolated import die_with_parent, without_script
from bundler.system.native_output import quiet
from bundler.tflite.runner import TFLiteGPT2
from bundler.verification.divergence import Divergence, Rows, compare_rows, divergence
from bundler.verification.references import Reference
from tokenizer_tools.texts import read_documents, text_files

# Each process holds both models: more of them would be faster, and take a multiple of the memory.
PROCESSES = 2


@dataclass(frozen=True)
class Block:
    """As much text as fits the context, and about how many bytes of the files end with it."""

    ids: Ids
    bytes_read: int


def text_blocks(texts: Iterable[Path], tokenizer: BundleTokenizer, context: int) -> Iterator[Block]:
    """Cut files or folders of text into contexts, each of which begins anew, with the start token if there is one.

    A bundle whose tokenizer disagrees with the reference is given the reference's ids: what its tokenizer costs is
    another gate's figure.
    """
    first = [] if tokenizer.start is None else [tokenizer.start]
    step, read = context - 1 - len(first), 0
    for path in text_files(texts):
        for document in read_documents(path):
            size = len(document.encode())
            ids = tokenizer.encode(document)
            bundle = ids.bundle if tokenizer.original(ids.bundle) == ids.reference else ids.reference
            for at in range(0, len(ids.reference), step):
                share = min(1.0, (at + step) / len(ids.reference))
                yield Block(
                    Ids([*first, *ids.reference[at : at + step]], [*first, *bundle[at : at + step]]),
                    read + int(size * share),
                )
            read += size


def text_divergence(
    blocks: Iterable[Block],
    checkpoint: Checkpoint,
    vocabulary: int,
    model: Path,
    progress: Callable[[int], None] = lambda bytes_read: None,
) -> Divergence:
    """The figures of `model` (TFLite) against PyTorch over `blocks`. Raises BundleError if there is no text in them."""
    parts: list[Rows] = []
    waiting: deque[tuple[Block, Future]] = deque()

    def collect() -> None:
        block, future = waiting.popleft()
        parts.append(future.result())
        progress(block.bytes_read)

    arguments = (os.getpid(), checkpoint.source.path, checkpoint.folder, vocabulary, model)
    with ProcessPoolExecutor(PROCESSES, multiprocessing.get_context("spawn"), _open_models, arguments) as processes:
        try:
            for block in blocks:
                with without_script():
                    waiting.append((block, processes.submit(_compare, block.ids)))
                if len(waiting) > 2 * PROCESSES:  # enough to keep all busy; the text is not read further ahead
                    collect()
            while waiting:
                collect()
        except BrokenProcessPool as error:
            raise BundleError(
                "a process that compared the text was killed; the usual cause is too little memory; close other "
                "programs and try again"
            ) from error
    if not parts:
        raise BundleError("the text to compare on is empty, or not UTF-8; expected a text file")
    return divergence(parts)


_models: tuple[Reference, TFLiteGPT2] | None = None  # of a worker process
_tried = False


def _open_models(parent: int, weights: Path, folder: Path, vocabulary: int, model: Path) -> None:
    import torch

    global _models
    die_with_parent(parent)
    torch.set_num_threads(1)
    with quiet():
        _models = Reference(open_checkpoint(str(weights), tokenizer=folder), vocabulary), TFLiteGPT2(model, threads=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # native libraries print there when they are unloaded


def _compare(ids: Ids) -> Rows:
    global _tried
    reference, model = _models
    if not _tried:
        model.overwrite_cache(ids.bundle)
        _tried = True
    return compare_rows(
        reference.logits(ids.reference), model.along(ids.bundle)[:, : reference.vocabulary], ids.reference[1:]
    )
