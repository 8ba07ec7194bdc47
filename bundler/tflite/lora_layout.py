"""Which signatures of a TFLite model take an adapter, read from the file without loading the model."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from bundler.errors import BundleError
from bundler.system.file_section import FileSection

_FIRST = "lora_atten_q_a_prime_weight_0"


@dataclass(frozen=True)
class LoraLayout:
    """`plain`: the rank of the LoRA inputs of `decode` itself (LiteRT-LM's layout), None without such inputs.

    `extra`: the ranks that have signatures `decode_lora_rR` (MediaPipe's layout). `layers` and `width` are the model's.
    `shadowed`: plain prefill signatures that stand before one with LoRA inputs of the same length; LiteRT-LM would
    run the latter, with undefined memory for an adapter.
    """

    layers: int
    width: int
    plain: int | None
    extra: tuple[int, ...]
    shadowed: tuple[str, ...] = ()

    @property
    def ranks(self) -> tuple[int, ...]:
        return tuple(sorted({*self.extra, *([] if self.plain is None else [self.plain])}))


def read_lora_layout(model: FileSection) -> LoraLayout:
    """The layout of a TFLite model inside a bundle. Raises BundleError for what is no TFLite file.

    A model without `decode` or without our KV cache has 0 layers: that is for the engine to judge.
    """
    from ai_edge_litert import schema_py_generated as schema

    ranks: dict[str, int] = {}
    prefills: list[str] = []
    layers = width = 0
    try:
        with model.map() as data:
            root = schema.Model.GetRootAs(data, 0)
            for index in range(root.SignatureDefsLength()):
                signature = root.SignatureDefs(index)
                graph = root.Subgraphs(signature.SubgraphIndex())
                name = signature.SignatureKey().decode()
                inputs = {
                    entry.Name().decode(): entry.TensorIndex()
                    for entry in map(signature.Inputs, range(signature.InputsLength()))
                }
                if name.startswith("prefill_"):
                    prefills.append(name)
                if _FIRST in inputs:
                    ranks[name] = int(graph.Tensors(inputs[_FIRST]).Shape(1))
                if name == "decode" and "kv_cache_k_0" in inputs:
                    layers = sum(key.startswith("kv_cache_k_") for key in inputs)
                    cache = graph.Tensors(inputs["kv_cache_k_0"])
                    width = int(cache.Shape(1)) * int(cache.Shape(3))
            root = signature = graph = cache = None  # they point into the map, which could not be closed
    # The flatbuffers reader does not check what it follows; these are what other files make it raise.
    except (struct.error, ValueError, TypeError, IndexError, AttributeError, KeyError) as error:
        raise BundleError(
            f"{model.path}: {model.name} is no readable TFLite model ({error or type(error).__name__}); "
            "build the bundle again"
        ) from error
    extra = tuple(sorted(int(match[1]) for name in ranks if (match := re.fullmatch(r"decode_lora_r(\d+)", name))))
    shadowed = tuple(
        name
        for index, name in enumerate(prefills)
        if any(later.startswith(f"{name}_lora_") for later in prefills[index:])
    )
    return LoraLayout(layers, width, ranks.get("decode"), extra, shadowed)


def unconsumed_inputs(model: FileSection) -> dict[str, list[str]]:
    """For every signature, the LoRA inputs from which no way leads to an output: an adapter's tensor there has no
    effect.
    """
    from ai_edge_litert import schema_py_generated as schema

    found = {}
    with model.map() as data:
        root = schema.Model.GetRootAs(data, 0)
        for index in range(root.SignatureDefsLength()):
            signature = root.SignatureDefs(index)
            graph = root.Subgraphs(signature.SubgraphIndex())
            made_from = {}
            for number in range(graph.OperatorsLength()):
                operator = graph.Operators(number)
                for output in operator.OutputsAsNumpy().tolist():
                    made_from[output] = operator.InputsAsNumpy().tolist()
            reached, waiting = set(), graph.OutputsAsNumpy().tolist()
            while waiting:
                if (tensor := waiting.pop()) not in reached:
                    reached.add(tensor)
                    waiting.extend(made_from.get(tensor, ()))
            inputs = {
                entry.Name().decode(): entry.TensorIndex()
                for entry in map(signature.Inputs, range(signature.InputsLength()))
            }
            found[signature.SignatureKey().decode()] = [
                name for name, tensor in inputs.items() if name.startswith("lora_") and tensor not in reached
            ]
        root = signature = graph = operator = None  # they point into the map, which could not be closed
    return found
