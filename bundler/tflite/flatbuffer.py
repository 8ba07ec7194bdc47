"""Reading a flatbuffer that may have been made to deceive: nothing is followed out of the buffer, and no list is longer
than its bytes.

The generated readers of the flatbuffers package check nothing: they follow any offset, and loop over any length. Here
every read is checked, the same vtable, table or vector is read once, and what one buffer can make us read is bounded by
its size. The format: https://flatbuffers.dev/internals.
"""

from __future__ import annotations

import struct
from typing import Any, Callable, Iterator

import numpy as np

# The most tables read from one buffer: the largest models have a fifth of that, and reading so many takes two seconds.
_MOST_TABLES = 250_000
_MOST_ELEMENTS = 1 << 22
_TEXT_SHARE = 16  # so many characters count as one element

_SCALARS = {code: struct.Struct(f"<{code}") for code in "bBhHiIqQfd?"}
_U16, _U32, _I32 = _SCALARS["H"], _SCALARS["I"], _SCALARS["i"]


class Damaged(Exception):
    """What is not in order, as a clause: "a table at byte 88 outside of the buffer"."""


class Flatbuffer:
    """`data`: bytes or a view of them. Positions are counted from its start."""

    def __init__(self, data: bytes | memoryview) -> None:
        self.data, self.size = data, len(data)
        self._vtables: dict[int, tuple[int, tuple[int, ...]]] = {}
        self._tables: dict[int, Table] = {}
        self._values: dict[tuple, object] = {}
        # The elements of a sound buffer take more bytes than there are elements, even if some vectors are stored once
        # and used often.
        self._elements_left = min(self.size, _MOST_ELEMENTS) + 4096

    def root(self) -> Table:
        return self.table_at(self.u32(0))

    def u32(self, at: int) -> int:
        return self.scalar(_U32, at)

    def scalar(self, form: struct.Struct, at: int) -> int | float:
        if not 0 <= at <= self.size - form.size:
            raise Damaged(f"a number at byte {at} of {self.size}")
        return form.unpack_from(self.data, at)[0]

    def table_at(self, position: int) -> Table:
        table = self._tables.get(position)
        if table is None:
            if len(self._tables) >= min(_MOST_TABLES, self.size // 4):
                raise Damaged(f"more than {len(self._tables)} tables")
            table = self._tables[position] = Table(self, position, self._vtable(position))
        return table

    def _vtable(self, table: int) -> tuple[int, ...]:
        at = table - self.scalar(_I32, table)
        known = self._vtables.get(at)
        if known is None:
            size, body = self.scalar(_U16, at), self.scalar(_U16, at + 2)
            if size < 4 or size % 2 or at + size > self.size:
                raise Damaged(f"a vtable of {size} bytes at byte {at} of {self.size}")
            known = self._vtables[at] = body, struct.unpack_from(f"<{size // 2 - 2}H", self.data, at + 4)
        body, slots = known
        if body < 4 or table + body > self.size:
            raise Damaged(f"a table of {body} bytes at byte {table} of {self.size}")
        return slots

    def spend(self, elements: int) -> None:
        """Count what is read one by one. Raises Damaged when a small buffer pretends to hold much."""
        self._elements_left -= elements
        if self._elements_left < 0:
            raise Damaged("lists that share their bytes and are together longer than the file")

    def vector_at(self, at: int, width: int) -> tuple[int, int]:
        """Where the elements of the vector at `at` begin, and how many there are, each of `width` bytes."""
        count = self.u32(at)
        if count * width > self.size - at - 4:
            raise Damaged(f"a list of {count} elements of {width} bytes at byte {at} of {self.size}")
        return at + 4, count

    def once(self, key: tuple, read: Callable[[], Any]) -> Any:
        """`read()`, or what it gave the last time for `key`: equal vectors may be stored once and used by many
        tables.
        """
        if key not in self._values:
            self._values[key] = read()
        return self._values[key]


class Table:
    """A table; its fields are named by their slot, the position in the schema. A field that is absent has the
    default.
    """

    __slots__ = ("_buffer", "position", "_slots")

    def __init__(self, buffer: Flatbuffer, position: int, slots: tuple[int, ...]) -> None:
        self._buffer, self.position, self._slots = buffer, position, slots

    def _at(self, slot: int) -> int:
        """Where the field is; 0: absent."""
        offset = self._slots[slot] if slot < len(self._slots) else 0
        return self.position + offset if offset else 0

    def number(self, slot: int, code: str, default: int | float = 0) -> int | float:
        """A number of the struct code `code`."""
        at = self._at(slot)
        return self._buffer.scalar(_SCALARS[code], at) if at else default

    def _followed(self, slot: int) -> int:
        at = self._at(slot)
        return at + self._buffer.u32(at) if at else 0

    def table(self, slot: int) -> Table | None:
        at = self._followed(slot)
        return self._buffer.table_at(at) if at else None

    def vector(self, slot: int, width: int) -> tuple[int, int]:
        """(position of the first element, count) of a vector that is not read; (0, 0) if it is absent."""
        at = self._followed(slot)
        return self._buffer.vector_at(at, width) if at else (0, 0)

    def numbers(self, slot: int, dtype: str) -> np.ndarray:
        """A vector of numbers, copied."""
        form = np.dtype(dtype)
        start, count = self.vector(slot, form.itemsize)

        def read() -> np.ndarray:
            self._buffer.spend(count)
            return np.frombuffer(bytes(self._buffer.data[start : start + count * form.itemsize]), form)

        return self._buffer.once((start, count, dtype), read)

    def integers(self, slot: int) -> tuple[int, ...]:
        """A vector of 32-bit integers."""
        start, count = self.vector(slot, 4)
        self._buffer.spend(count)  # each time: whoever uses them goes through them
        return self._buffer.once(
            (start, count, "tuple"), lambda: struct.unpack_from(f"<{count}i", self._buffer.data, start)
        )

    def text(self, slot: int) -> str:
        """A string, with � for what is no UTF-8; empty if it is absent."""
        start, count = self.vector(slot, 1)

        def read() -> str:
            self._buffer.spend(count // _TEXT_SHARE)
            return bytes(self._buffer.data[start : start + count]).decode("utf-8", "replace")

        return self._buffer.once((start, count, "text"), read)

    def tables(self, slot: int) -> Iterator[Table]:
        """A vector of tables."""
        buffer = self._buffer
        start, count = self.vector(slot, 4)
        buffer.spend(count)
        offsets = struct.unpack_from(f"<{count}I", buffer.data, start) if count else ()
        for index, offset in enumerate(offsets):
            yield buffer.table_at(start + 4 * index + offset)
