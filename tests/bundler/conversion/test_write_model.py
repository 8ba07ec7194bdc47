"""The file around the constants: inside the flatbuffer or behind it, whole or not at all."""

import errno

import numpy as np
import pytest
from tiny_gpt2 import VOCABULARY

from bundler.conversion import write_model
from bundler.conversion.convert import Signatures, convert_graph, fill_graph
from bundler.conversion.exported_weights import TokenRows, exported_weights
from bundler.conversion.recipes import RECIPES
from bundler.conversion.rounding import Rounded
from bundler.doctor.examine import examine
from bundler.errors import BundleError
from bundler.system.file_section import FileSection
from bundler.tflite.model import open_model
from bundler.tflite.runner import TFLiteGPT2

ROWS = TokenRows(VOCABULARY, (7, 9))


@pytest.fixture(scope="module")
def graph(tiny_tflite, tmp_path_factory):
    path = tmp_path_factory.mktemp("graph") / "graph"
    convert_graph(tiny_tflite[2].architecture, ROWS, Signatures(96, (8, 32)), path)
    return path


def fill(graph, checkpoint, path, recipe="int8", **options):
    fill_graph(graph, exported_weights(checkpoint, 96, ROWS), RECIPES[recipe], path, **options)
    return path


@pytest.mark.parametrize("recipe", ["fp32", "fp16", "int8", "int4-block32"])
def test_constants_behind_the_flatbuffer_are_the_same(graph, tiny_tflite, tmp_path, monkeypatch, recipe):
    inside = fill(graph, tiny_tflite[2], tmp_path / "inside.tflite", recipe)
    monkeypatch.setattr(write_model, "LARGEST", 0)
    monkeypatch.setattr(write_model, "_SMALL", 512)
    behind = fill(graph, tiny_tflite[2], tmp_path / "behind.tflite", recipe)
    buffers = open_model(FileSection.whole(behind)).buffers
    assert any(buffer.outside for buffer in buffers)
    assert not any(buffer.outside for buffer in open_model(FileSection.whole(inside)).buffers)
    ids = list(range(20))
    assert np.array_equal(TFLiteGPT2(behind).along(ids), TFLiteGPT2(inside).along(ids))
    assert not examine(behind).errors


def test_the_graph_of_a_model_does_not_grow_with_it(graph):
    assert graph.stat().st_size < 200_000


def test_report_tells_bytes_up_to_the_total(graph, tiny_tflite, tmp_path):
    written = []
    path = fill(graph, tiny_tflite[2], tmp_path / "a.tflite", report=written.append)
    assert written == sorted(written) and len(written) > 30
    assert written[-1] < path.stat().st_size < written[-1] + 150_000


def test_a_full_disk_is_said_before_a_weight_is_read(graph, tiny_tflite, tmp_path, monkeypatch):
    def full(descriptor, offset, length):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(write_model.os, "posix_fallocate", full)
    written = []
    with pytest.raises(BundleError, match="could not be written .No space left"):
        fill(graph, tiny_tflite[2], tmp_path / "a.tflite", report=written.append)
    assert not written and not [*tmp_path.iterdir()]


def test_a_disk_that_fills_meanwhile_leaves_nothing(graph, tiny_tflite, tmp_path):
    def rounding(name, values, storage):
        if name == "ln_f.weight":
            raise OSError(errno.ENOSPC, "No space left on device")
        return Rounded(values)

    with pytest.raises(BundleError, match="could not be written .No space left"):
        fill(graph, tiny_tflite[2], tmp_path / "a.tflite", "fp32", rounding=rounding)
    assert not [*tmp_path.iterdir()]
