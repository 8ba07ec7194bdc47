"""A context that is chosen when a file is loaded.

A model is converted for one length of its cache, and every step of decode reads the cache from end to end, however
short the text is. LiteRT-LM takes a context that is a prime above 10 for a placeholder, and puts `max_num_tokens` in
its place (runtime/executor/magic_number_configs_helper.cc in its source). It does so by changing numbers in the
flatbuffer (litert/runtime/magic_number_utils.cc in LiteRT's): every size of a tensor that is a multiple of the
placeholder, and every such number in the constants that give an operator its shape. So no other size may be one.
`set_context` does the same to a file, for whoever wants one length.
"""

from __future__ import annotations

import itertools
import math
import struct
from pathlib import Path
from typing import Iterable, Iterator

from bundler.errors import BundleError
from bundler.system.atomic_file import replacing
from bundler.system.file_section import FileSection
from bundler.tflite.flatbuffer import Damaged, Flatbuffer, Table

# Operator -> the input with numbers of elements: GetInputIndexOfMagicNumber in LiteRT's source. By their codes in
# TFLite's schema: RESHAPE, SLICE, RANGE, BROADCAST_TO.
_SHAPE_INPUT = {22: 1, 65: 2, 96: 1, 130: 1}
_RESHAPE = 22


def is_placeholder(number: int) -> bool:
    """Does LiteRT-LM take a context or prefill length for a placeholder, in whose place another is put? Primes above
    10.

    Source: LiteRT-LM, runtime/executor/magic_number_configs_helper.cc.
    """
    return number > 10 and all(number % n for n in range(2, math.isqrt(number) + 1))


def placeholder_above(context: int, sizes: Iterable[int]) -> int:
    """The smallest prime above `context` of which none of the model's other `sizes` is a multiple."""
    sizes = {*sizes}
    return next(
        number
        for number in itertools.count(context + 1)
        if is_placeholder(number) and all(size % number for size in sizes)
    )


def set_context(source: Path, context: int, output: Path, placeholder: int) -> None:
    """Write the TFLite file `source`, converted for `placeholder`, to `output` with a cache of `context` tokens: what
    LiteRT-LM makes of it in memory.

    Raises BundleError for a file that is no TFLite model.
    """
    section = FileSection.whole(source)
    with section.map() as data:
        try:
            places = {*_multiples(Flatbuffer(data), placeholder)}
        except Damaged as error:
            raise BundleError(f"{source} is no readable TFLite model ({error}); build it again") from error
    with replacing(output) as file:
        file.writelines(section.chunks())
        for place, value in places:
            file.seek(place)
            file.write(struct.pack("<i", value // placeholder * context))


def _multiples(buffer: Flatbuffer, placeholder: int) -> Iterator[tuple[int, int]]:
    """(position, value) of every number that the placeholder's replacement changes."""
    root = buffer.root()
    # Numbers up to 126 stood in a byte before there were more; the larger of the two fields counts.
    codes = [max(code.number(0, "b"), code.number(3, "i")) for code in root.tables(1)]
    constants = [*root.tables(4)]
    for graph in root.tables(2):
        tensors = [*graph.tables(0)]
        for tensor in tensors:
            yield from _in_vector(buffer, tensor.vector(0, 4), placeholder)
            yield from _in_vector(buffer, tensor.vector(7, 4), placeholder)
        for operator in graph.tables(3):
            code = codes[operator.number(0, "I")]
            options: Table | None = operator.table(4)
            if code == _RESHAPE and options is not None:
                yield from _in_vector(buffer, options.vector(0, 4), placeholder)
            inputs = operator.integers(1)
            if len(inputs) > _SHAPE_INPUT.get(code, len(inputs)):
                start, size = constants[tensors[inputs[_SHAPE_INPUT[code]]].number(2, "I")].vector(0, 1)
                yield from _in_vector(buffer, (start, size // 4), placeholder)


def _in_vector(buffer: Flatbuffer, vector: tuple[int, int], placeholder: int) -> Iterator[tuple[int, int]]:
    start, count = vector
    for position in range(start, start + 4 * count, 4):
        (value,) = struct.unpack_from("<i", buffer.data, position)
        if value > 0 and value % placeholder == 0:
            yield position, value
