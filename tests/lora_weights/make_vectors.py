"""Write the test vectors of merging, for any implementation to be held against: tests/lora_weights/vectors.

One layer of width 32 in each way of storing weights, as a whole .task whose "model" is nothing but the tensors; an
adapter file; and the merged .task. Nothing in them is learned or copied: all numbers come from a seed.

    python tests/lora_weights/make_vectors.py
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from bundler.containers.bundle import MANIFEST
from bundler.containers.llm_parameters import LlmParameters
from bundler.containers.lora_manifest import FORMAT, UNMERGED
from bundler.containers.task import METADATA_ENTRY, MODEL_ENTRY, TOKENIZER_ENTRY, write_task
from bundler.lora.merge_bundle import merge_into_bundle
from lora_weights.adapter import PROJECTIONS, Adapter, Base, LowRank
from lora_weights.adapter_file import adapter_file, encode_adapter
from lora_weights.tensor_map import MappedTensor, map_to_json

FOLDER = Path(__file__).parent / "vectors"
WIDTH, RANK = 32, 3
BASE = Base(1, WIDTH, (0.25,), "0123456789abcdef" * 4)
TYPES = {"float32": 0, "float16": 0, "int8": 0, "int4": 16}


def make_vectors(folder: Path) -> None:
    """Write adapter.tflite, and TYPE.task and TYPE-merged.task for each way of storing weights."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(2024)
    pairs = {
        (0, projection): LowRank(
            generator.standard_normal((WIDTH, RANK)).astype(np.float32) * np.float32(0.2),
            generator.standard_normal((RANK, WIDTH)).astype(np.float32) * np.float32(0.2),
        )
        for projection in PROJECTIONS
        if projection != "k"
    }  # k is left alone
    pairs[0, "v"].b[:, 5] = 0  # and so is one output of v
    # For the first input of o the first addend is lost in the second, which the third takes away: order shows.
    pairs[0, "o"].a[0], pairs[0, "o"].b[2] = (1, 2.0**60, -(2.0**60)), pairs[0, "o"].b[1]
    adapter = adapter_file(Adapter("vectors", 1, WIDTH, pairs, alpha=RANK), BASE, 16)
    (folder / "adapter.tflite").write_bytes(encode_adapter(adapter))
    for type_, block in TYPES.items():
        model, tensors = _model(type_, block, generator)
        facts = {
            "format": FORMAT,
            "base_fingerprint": BASE.fingerprint,
            "layers": 1,
            "width": WIDTH,
            "query_scale": list(BASE.query_scale),
            "ranks": [16],
            "merged_adapter": UNMERGED,
            "tensors": map_to_json(tensors),
        }
        write_task(
            folder / f"{type_}.task",
            {
                MODEL_ENTRY: model,
                TOKENIZER_ENTRY: b"no tokenizer",
                METADATA_ENTRY: LlmParameters(start_token="a", stop_tokens=("a",)).encode(),
                MANIFEST: json.dumps({"lora": facts}).encode(),
            },
        )
        merge_into_bundle(folder / f"{type_}.task", adapter, folder / f"{type_}-merged.task")


def _model(type_: str, block: int, generator: np.random.Generator) -> tuple[bytes, list[MappedTensor]]:
    """Matrices and scales one after the other, on multiples of 16 bytes, with values that are as good as any."""
    model, tensors = bytearray(b"\0\0\0\0TFL3" + bytes(8)), []
    for projection in PROJECTIONS:
        data = len(model)
        if type_ == "int8":
            model += generator.integers(-127, 128, (WIDTH, WIDTH), np.int8).tobytes()
        elif type_ == "int4":
            model += generator.integers(0, 256, WIDTH * WIDTH // 2, np.uint8).tobytes()
        else:
            model += generator.standard_normal((WIDTH, WIDTH)).astype(type_).tobytes()
        scales = None
        if type_.startswith("int"):
            model += bytes(-len(model) % 16)
            scales = len(model)
            steps = generator.uniform(0.001, 0.01, (WIDTH, WIDTH // block if block else 1)).astype(np.float32)
            model += steps.astype("<f2" if block else "<f4").tobytes()
        model += bytes(-len(model) % 16)
        tensors.append(MappedTensor(0, projection, type_, (WIDTH, WIDTH), data, scales, block))
    return bytes(model), tensors


if __name__ == "__main__":
    make_vectors(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
