"""A checkpoint -> NAME-trainer.tflite, a TFLite file that trains LoRA adapters of the model wherever TFLite runs.

Its signatures, for sequences of T tokens and adapters of rank R; an adapter is a vector, see lora_weights.flat_adapter:

* `init_rR`: (spread) -> adapter, where a training begins; `spread` is 1, or how many times PEFT's A is to be as large.
* `train_T_rR`: (tokens, targets, loss_weights, scaling, adapter, first_moment, second_moment, gradient, step,
  learning_rate, weight_decay, update) -> (loss, adapter, first_moment, second_moment, gradient). The gradient of the
  sequence is added to `gradient`. Where `update` is not 0, the adapter takes AdamW's step along the sum, and the
  gradient that goes out is zero.
* `eval_T_rR`: (tokens, targets, scaling, adapter) -> losses, of each position.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Mapping

import flatbuffers
import numpy as np
import torch
from ai_edge_litert import schema_py_generated as schema
from torch import Tensor, nn

from bundler.checkpoints.architecture import GPT2Architecture
from bundler.conversion.convert import Export
from bundler.conversion.exported_weights import TokenRows
from bundler.conversion.gpt2 import weightless
from bundler.conversion.training_step import Gradient, Losses, Moments, Schedule, Sequence, update
from bundler.system.native_output import quiet
from bundler.tflite.trainer import FACTS
from lora_weights.flat_adapter import FlatAdapter

# Of the adapter that `init_rR` gives.
SEED = 1


@dataclass(frozen=True)
class TrainerShape:
    """`length`: the tokens of a sequence. `rank`: of the adapters."""

    length: int
    rank: int

    def signature(self, verb: str) -> str:
        return f"{verb}_r{self.rank}" if verb == "init" else f"{verb}_{self.length}_r{self.rank}"


class _Init(nn.Module):
    """The signature `init_rR`. With `spread` among its inputs nothing is computed beforehand: the file holds the two
    matrices that all layers begin with.
    """

    def __init__(self, layout: FlatAdapter) -> None:
        super().__init__()
        self.layers = layout.layers
        first = FlatAdapter(1, layout.width, layout.rank)
        self.factors = []
        for name, matrix in first.matrices(first.start(SEED)).items():
            drawn = ".lora_A." in name
            self.factors.append((len(self.factors), matrix.size, drawn))
            if drawn:
                self.register_buffer(f"start_{len(self.factors) - 1}", torch.from_numpy(matrix.reshape(-1).copy()))

    def forward(self, spread: Tensor) -> dict[str, Tensor]:
        of_layer = [
            getattr(self, f"start_{number}") * spread if drawn else (spread * 0).expand(size)
            for number, size, drawn in self.factors
        ]
        return {"adapter": torch.cat(of_layer * self.layers)}


class _Train(nn.Module):
    """The signature `train_T_rR`. The weights of the model are arguments too, see convert.convert_graph."""

    def __init__(self, gradient: Gradient) -> None:
        super().__init__()
        self._gradient = [gradient]  # in a list: its parameters are not this module's

    def forward(self, weights: dict[str, Tensor], **inputs: Tensor) -> dict[str, Tensor]:
        sequence = Sequence(*(inputs[name] for name in ("tokens", "targets", "loss_weights")))
        adapter, moments = inputs["adapter"], Moments(inputs["first_moment"], inputs["second_moment"])
        of_sequence, loss = _with_weights(self._gradient[0], weights, sequence, inputs["scaling"], adapter)
        gradient = inputs["gradient"] + of_sequence
        schedule = Schedule(inputs["step"], inputs["learning_rate"], inputs["weight_decay"])
        updated = update(adapter, moments, gradient, schedule)
        last = inputs["update"] > 0
        return {
            "loss": loss,
            "adapter": torch.where(last, updated.adapter, adapter),
            "first_moment": torch.where(last, updated.moments.first, moments.first),
            "second_moment": torch.where(last, updated.moments.second, moments.second),
            # A choice of zeros would put as many of them as an adapter has numbers into the file.
            "gradient": gradient * torch.logical_not(last),
        }


class _Evaluate(nn.Module):
    """The signature `eval_T_rR`."""

    def __init__(self, losses: Losses) -> None:
        super().__init__()
        self._losses = [losses]

    def forward(self, weights: dict[str, Tensor], **inputs: Tensor) -> dict[str, Tensor]:
        arguments = (inputs[name] for name in ("tokens", "targets", "scaling", "adapter"))
        return {"losses": _with_weights(self._losses[0], weights, *arguments)}


def _with_weights(module: Losses, weights: Mapping[str, Tensor], *arguments: Tensor | Sequence) -> Any:
    named = {f"model.{name}": weight for name, weight in weights.items()}
    return torch.func.functional_call(module, named, arguments)


def sample_inputs(architecture: GPT2Architecture, shape: TrainerShape, verb: str) -> dict[str, Tensor]:
    """Zeros for every input of `train` or `eval` but the weights; all apart, because the export takes one tensor that
    is given twice for one input.
    """
    count = FlatAdapter(architecture.layers, architecture.width, shape.rank).count
    ids, vectors, scalars = ["tokens", "targets"], ["adapter"], ["scaling"]
    if verb == "train":
        vectors += ["first_moment", "second_moment", "gradient"]
        scalars += ["step", "learning_rate", "weight_decay", "update"]
    positions = {name: torch.zeros(1, shape.length, dtype=torch.int32) for name in ids}
    if verb == "train":
        positions["loss_weights"] = torch.zeros(1, shape.length)
    return {
        **positions,
        **{name: torch.zeros(count) for name in vectors},
        **{name: torch.zeros(1) for name in scalars},
    }


def convert_trainer(architecture: GPT2Architecture, rows: TokenRows, shape: TrainerShape, output: Path) -> None:
    """Write the trainer's graph to `output`; its weights are inputs, as in convert.convert_graph."""
    model = weightless(architecture, shape.length, rows)
    weights = {name: torch.zeros(1).expand(tensor.shape) for name, tensor in model.named_parameters()}
    layout = FlatAdapter(architecture.layers, architecture.width, shape.rank)
    with quiet():
        import litert_torch

        converter = litert_torch.Converter()
        for verb, module in (
            ("train", _Train(Gradient(model, shape.length, shape.rank))),
            ("eval", _Evaluate(Losses(model, shape.length, shape.rank))),
        ):
            converter.add_signature(
                shape.signature(verb),
                module.eval(),
                sample_kwargs={"weights": weights, **sample_inputs(architecture, shape, verb)},
            )
        # The last: LiteRT's interpreter leaves a file to its slow kernels if its first signature has no operators.
        converter.add_signature(shape.signature("init"), _Init(layout).eval(), sample_kwargs={"spread": torch.ones(1)})
        converter.convert(lightweight_conversion=False).export(str(output))


def export_trainer(export: Export, shape: TrainerShape, facts: dict, output: Path) -> None:
    """`convert_trainer` of a checkpoint: the part of a build that needs the converter. `facts` are put into the file as
    JSON, see bundler.tflite.trainer.FACTS.
    """
    convert_trainer(export.open().architecture, export.rows, shape, output)
    model = schema.ModelT.InitFromPackedBuf(output.read_bytes())
    model.buffers.append(schema.BufferT(data=np.frombuffer(json.dumps(facts).encode(), np.uint8)))
    entry = schema.MetadataT(name=FACTS.encode(), buffer=len(model.buffers) - 1)
    model.metadata = [*(model.metadata or []), entry]
    builder = flatbuffers.Builder(output.stat().st_size)
    builder.Finish(model.Pack(builder), b"TFL3")
    output.write_bytes(builder.Output())
