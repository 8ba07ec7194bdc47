"""The peers as engines to time, driven with token ids; each is imported when it is opened."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, Sequence

import numpy as np

from bundler.pipeline.speed import StepwiseEngine, Timing


@contextmanager
def open_llama_cpp(path: Path, threads: int) -> Iterator[StepwiseEngine]:
    """A GGUF file in llama.cpp with its defaults: a cache in fp16, batches of 512, flash attention where it has it."""
    import llama_cpp

    silent = llama_cpp.llama_log_callback(lambda level, text, data: None)
    llama_cpp.llama_log_set(silent, None)
    started = time.perf_counter()
    model = llama_cpp.llama_model_load_from_file(str(path).encode(), llama_cpp.llama_model_default_params())
    options = llama_cpp.llama_context_default_params()
    options.n_ctx = context = llama_cpp.llama_model_n_ctx_train(model)
    options.n_batch, options.n_threads, options.n_threads_batch = context, threads, threads
    state = llama_cpp.llama_init_from_model(model, options)
    seconds = time.perf_counter() - started
    size = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))

    def reader():
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(state), True)

        def read(ids: Sequence[int]) -> np.ndarray:
            tokens = (llama_cpp.llama_token * len(ids))(*ids)
            if code := llama_cpp.llama_decode(state, llama_cpp.llama_batch_get_one(tokens, len(ids))):
                raise RuntimeError(f"llama_decode gave {code}")
            return np.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(state, -1), (size,))

        return read

    try:
        yield StepwiseEngine(reader, context, size, seconds)
    finally:
        llama_cpp.llama_free(state)
        llama_cpp.llama_model_free(model)


@contextmanager
def open_onnx_runtime(path: Path, threads: int, context: int) -> Iterator[StepwiseEngine]:
    """A model of onnx_file in ONNX Runtime on the CPU; what it gave as cache it is given again without a copy."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    started = time.perf_counter()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    seconds = time.perf_counter() - started
    caches = [entry for entry in session.get_inputs() if entry.name.startswith("past_")]
    names = ["logits", *(f"present_{layer}" for layer in range(len(caches)))]
    heads, width = caches[0].shape[2], caches[0].shape[4]
    value = onnxruntime.OrtValue.ortvalue_from_numpy

    def reader():
        past, position = [value(np.zeros((2, 1, heads, 0, width), np.float32)) for _ in caches], 0

        def read(ids: Sequence[int]) -> np.ndarray:
            nonlocal past, position
            positions = np.arange(position, position + len(ids))[None]
            inputs = {"ids": value(np.array([ids], np.int64)), "positions": value(positions)}
            inputs |= {f"past_{layer}": entry for layer, entry in enumerate(past)}
            logits, *past = session.run_with_ort_values(names, inputs)
            position += len(ids)
            return logits.numpy().ravel()  # quantized, it has a dimension more

        return read

    yield StepwiseEngine(reader, context, session.get_outputs()[0].shape[-1], seconds)


class CTranslate2Engine:
    """CTranslate2's generator, which runs the loop over tokens itself and tells of each."""

    def __init__(self, path: Path, threads: int, context: int) -> None:
        import ctranslate2

        self.context = context
        self._vocabulary = json.loads((path / "vocabulary.json").read_text(encoding="utf-8"))
        started = time.perf_counter()
        self._generator = ctranslate2.Generator(str(path), device="cpu", inter_threads=1, intra_threads=threads)
        self.load_seconds = time.perf_counter() - started

    def text(self, length: int, tokens: int, number: int) -> Timing:
        ids = np.random.default_rng(number).integers(len(self._vocabulary), size=length)
        prompt = [self._vocabulary[index] for index in ids]
        times = [time.perf_counter()]
        self._generator.generate_batch(
            [prompt],
            max_length=tokens + 1,
            min_length=tokens + 1,
            beam_size=1,
            sampling_topk=1,
            include_prompt_in_result=False,
            callback=lambda step: times.append(time.perf_counter()) or False,
        )
        first = times[1] - times[0]
        return Timing(length, first, first, len(times) - 2, times[-1] - times[1])

    def logits(self, ids: Sequence[int]) -> np.ndarray:
        return np.array(self._generator.forward_batch([list(ids)]))[0]


@contextmanager
def open_ctranslate2(path: Path, threads: int, context: int) -> Iterator[CTranslate2Engine]:
    """A folder of ct2-transformers-converter in CTranslate2, in the type it was converted to."""
    yield CTranslate2Engine(path, threads, context)
