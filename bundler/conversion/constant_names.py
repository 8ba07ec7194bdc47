"""What the conversion calls the constants of a model, and how others find them again. Without PyTorch, for merging."""

from __future__ import annotations

_SEPARATOR = ";"


def matrix_name(layer: int, matrix: str) -> str:
    """What ExportableGPT2, and with it the file, calls a matrix of a layer: q, k, v, o, c_fc or c_proj."""
    return f"blocks.{layer}.{matrix}.weight"


def constant_name(parameter: str, graph: int) -> str:
    """The name of the constant that holds a parameter in the graph of this number."""
    return f"{parameter}{_SEPARATOR}{graph}"


def parameter_of(tensor: str) -> str:
    """The parameter that a constant of this name holds. Scales of blocks have names of their own."""
    parameter, _, graph = tensor.partition(_SEPARATOR)
    return parameter if graph.isdecimal() else tensor
