"""The signatures that take an adapter, out of a graph that has plain ones beside them.

A `.task` wants both, a `.litertlm` the former under the plain names (see bundler.conversion.convert). The converter
takes the same time for each signature, so it is given all of them once.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from bundler.conversion.compact import compact_tflite
from bundler.tflite.lora_inputs import variant_suffix

if TYPE_CHECKING:
    from ai_edge_litert import schema_py_generated as schema


def keep_lora_signatures(source: Path, rank: int, output: Path) -> None:
    """Write the graph `source` to `output` with those of its signatures alone that take an adapter of `rank`, under the
    plain names.
    """
    suffix = variant_suffix(rank).encode()

    def keep(model: schema.ModelT) -> None:
        kept = [signature for signature in model.signatureDefs if signature.signatureKey.endswith(suffix)]
        model.subgraphs = [model.subgraphs[signature.subgraphIndex] for signature in kept]
        for index, signature in enumerate(kept):
            signature.signatureKey = signature.signatureKey.removesuffix(suffix)
            signature.subgraphIndex = index
        model.signatureDefs = kept

    shutil.copyfile(source, output)
    compact_tflite(output, keep)
