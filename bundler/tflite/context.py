"""How many tokens a model in a bundle has room for, read from the file without loading the model."""

from __future__ import annotations

import struct

from bundler.system.file_section import FileSection


def model_context(model: FileSection) -> int | None:
    """The last dimension of `decode`'s mask, which is what engines go by; None where the model has none, or is
    unreadable.
    """
    from ai_edge_litert import schema_py_generated as schema

    context = None
    try:
        with model.map() as data:
            root = schema.Model.GetRootAs(data, 0)
            for index in range(root.SignatureDefsLength()):
                signature = root.SignatureDefs(index)
                graph = root.Subgraphs(signature.SubgraphIndex())
                for entry in map(signature.Inputs, range(signature.InputsLength())):
                    if signature.SignatureKey() == b"decode" and entry.Name() == b"mask":
                        mask = graph.Tensors(entry.TensorIndex())
                        context = int(mask.Shape(mask.ShapeLength() - 1))
            root = signature = graph = entry = mask = None  # they point into the map, which could not be closed
    # The flatbuffers reader does not check what it follows; these are what other files make it raise.
    except (struct.error, ValueError, TypeError, IndexError, AttributeError, KeyError):
        return None
    return context
