"""What runs the models that are verified: LiteRT and LiteRT-LM, here or in a process of their own."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import Any, ContextManager, Iterator

from bundler.engines.litertlm import LiteRtLmEngine, open_engine
from bundler.system.object_process import ObjectProcess, object_process
from bundler.tflite.runner import TFLiteGPT2
from bundler.tflite.trainer import TFLiteTrainer


class Runtimes:
    """LiteRT and LiteRT-LM in this process."""

    def model(self, path: Path, **options: Any) -> TFLiteGPT2:
        """A TFLite model in LiteRT, with the options of TFLiteGPT2."""
        return TFLiteGPT2(path, **options)

    def trainer(self, path: Path) -> TFLiteTrainer:
        """A trainer file in LiteRT."""
        return TFLiteTrainer(path)

    def engine(self, path: Path, **options: Any) -> ContextManager[LiteRtLmEngine]:
        """A .task or .litertlm in LiteRT-LM, with the options of open_engine."""
        return open_engine(path, **options)


class RuntimesApart(Runtimes):
    """The same in another process. What streams is not for it: see ObjectProcess."""

    def __init__(self, process: ObjectProcess) -> None:
        self._process = process

    def model(self, path: Path, **options: Any) -> TFLiteGPT2:
        return self._process.make(TFLiteGPT2, path, **options)

    def trainer(self, path: Path) -> TFLiteTrainer:
        return self._process.make(TFLiteTrainer, path)

    def engine(self, path: Path, **options: Any) -> ContextManager[LiteRtLmEngine]:
        return self._process.open(open_engine, path, **options)


@contextmanager
def runtimes_apart() -> Iterator[Runtimes]:
    """Yields Runtimes whose memory comes not on top of PyTorch's."""
    with object_process("running the model") as process:
        yield RuntimesApart(process)
