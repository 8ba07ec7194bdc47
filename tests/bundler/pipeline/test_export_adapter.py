"""At which rank an adapter is exported, and what the refusal of a larger one advises."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from bundler.errors import OptionError
from bundler.pipeline.export_adapter import LoraBundles, choose_rank
from lora_weights.adapter import Adapter, Base, LowRank
from lora_weights.errors import LoraError


def adapter(rank):
    return Adapter(
        "large", 1, 128, {(0, "q"): LowRank(np.zeros((128, rank), np.float32), np.zeros((rank, 128), np.float32))}
    )


def bundles(*ranks, litertlm):
    return LoraBundles(SimpleNamespace(path=Path("a.task")), None, Base(1, 128, (1.0,)), ranks, litertlm)


def test_a_rank_that_the_task_alone_takes_is_advised():
    with pytest.raises(
        OptionError,
        match=r"rank 64, more than 16, .*built for rank 16, 64; give `rank` 64, "
        r"for the .task alone: the .litertlm takes rank 16$",
    ):
        choose_rank(adapter(64), bundles(16, 64, litertlm=16), None)
    with pytest.raises(OptionError, match=r"give `rank` 32$"):
        choose_rank(adapter(20), bundles(16, 32, litertlm=32), 16)
    assert choose_rank(adapter(64), bundles(16, 64, litertlm=16), 64) == 64


def test_a_rank_that_nothing_takes_needs_another_build():
    with pytest.raises(LoraError, match="build it with `lora_ranks` 100 or more"):
        choose_rank(adapter(100), bundles(16, 64, litertlm=16), None)
