"""LiteRT's interpreter of this machine behind a pipe: what teaches in EndToEndTest.kt, see
engine_process/ProcessInterpreter.kt.

    python android_mediapipe_app/verify/trainer_process.py TRAINER.tflite

Reads a signature's name and its inputs, runs it, and writes its outputs, until the input ends. Numbers are big-endian.
"""

from __future__ import annotations

import os
import struct
import sys
from typing import BinaryIO

import numpy as np
from ai_edge_litert.interpreter import Interpreter


def main() -> None:
    # What native code prints must not come between the answers.
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    interpreter = Interpreter(sys.argv[1], num_threads=2)
    interpreter.allocate_tensors()
    while name := _text(sys.stdin.buffer):
        (count,) = struct.unpack(">i", sys.stdin.buffer.read(4))
        inputs = dict(_named_array(sys.stdin.buffer) for _ in range(count))
        try:
            outputs = interpreter.get_signature_runner(name)(**inputs)
        except ValueError as error:
            output.write(b"\0" + _encoded(str(error)))
        else:
            output.write(b"\1" + struct.pack(">i", len(outputs)))
            for key, array in outputs.items():
                output.write(_encoded(key) + struct.pack(">i", array.size) + array.astype(">f4").tobytes())
        output.flush()


def _text(stream: BinaryIO) -> str:
    """A text as Java's writeUTF writes it; empty at the end."""
    length = stream.read(2)
    return stream.read(struct.unpack(">H", length)[0]).decode() if length else ""


def _encoded(text: str) -> bytes:
    content = text.encode()[:60_000]
    return struct.pack(">H", len(content)) + content


def _named_array(stream: BinaryIO) -> tuple[str, np.ndarray]:
    name = _text(stream)
    is_row, is_int, count = struct.unpack(">??i", stream.read(6))
    array = np.frombuffer(stream.read(4 * count), ">i4" if is_int else ">f4").astype(np.int32 if is_int else np.float32)
    return name, array[None] if is_row else array


if __name__ == "__main__":
    main()
