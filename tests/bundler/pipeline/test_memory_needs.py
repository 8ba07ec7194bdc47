"""What is said before a build for which the machine may be too small."""

from dataclasses import replace

import pytest

from bundler.checkpoints.checkpoint import open_checkpoint
from bundler.pipeline import memory_needs
from bundler.pipeline.memory_needs import memory_remark, needed_memory


@pytest.fixture
def architecture(tiny_checkpoint):
    return open_checkpoint(tiny_checkpoint).architecture


@pytest.mark.parametrize(
    "layers, width, verify, measured",
    [
        (12, 768, True, 1.69e9),
        (24, 1024, True, 2.20e9),
        (36, 1280, True, 3.23e9),
        (48, 1600, True, 4.84e9),
        (12, 768, False, 1.69e9),
        (36, 1280, False, 1.70e9),
    ],
)
def test_no_less_is_said_than_was_measured(architecture, layers, width, verify, measured):
    sizes = dict(layers=layers, width=width, inner=4 * width, heads=width // 64, vocabulary=50257, positions=1024)
    assert measured <= needed_memory(replace(architecture, **sizes), verify) < 1.15 * measured


def test_it_is_said_where_the_machine_has_less(architecture, monkeypatch):
    assert memory_remark(architecture, True) == ""
    monkeypatch.setattr(memory_needs, "available_memory", lambda: 10**9)
    assert "up to 1.4 GB of memory, and 1.0 GB are free" in memory_remark(architecture, True)
