"""LiteRT-LM behind a pipe: what the app's engine is in EndToEndTest.kt, see engine_process/ProcessEngine.kt.

Reads a line of JSON for each call and answers each with a line, but for `cancel`, and `generate`, whose pieces come as
they are written. Errors are handed on in the engine's own words.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from typing import Any, TextIO

import litert_lm
from litert_lm.session import STREAM_CALLBACK_TYPE

from bundler.system.native_output import quiet


class Server:
    """One engine and one session, as the app uses them."""

    def __init__(self, output: TextIO) -> None:
        self._output = output
        self._engine: litert_lm.Engine | None = None
        self._running: litert_lm.Session | None = None
        self._cancelled = False
        self._callback: Any = None

    def serve(self, lines: TextIO) -> None:
        for line in lines:
            call = json.loads(line)
            name = call.pop("do")
            if name == "generate":
                threading.Thread(target=self.generate, args=(call["text"],), daemon=True).start()
            elif name == "cancel":
                self._cancelled = True
                self._running.cancel_process()
            else:
                try:
                    getattr(self, name)(**call)
                    self._say(ok=True)
                except RuntimeError as error:
                    self._say(error=str(error))

    def _say(self, **values: Any) -> None:
        self._output.write(json.dumps(values) + "\n")
        self._output.flush()

    def open(self, path: str, tokens: int | None, cache: str) -> None:
        self._engine = litert_lm.Engine(
            path, backend=litert_lm.Backend.CPU(thread_count=2), max_num_tokens=tokens, cache_dir=cache
        )

    # Without an engine's rank for adapters: the Kotlin API cannot tell it one.
    def session(self, top_k: int, top_p: float, temperature: float, seed: int, adapter: str | None) -> None:
        self._cancelled = False
        self._running = self._engine.create_session(
            apply_prompt_template=False,
            sampler_config=litert_lm.SamplerConfig(top_k=top_k, top_p=top_p, temperature=temperature, seed=seed),
            lora_config=adapter and litert_lm.LoraConfig(lora_path=adapter),
        )

    def close_session(self) -> None:
        self._running.close()

    def close(self) -> None:
        self._engine.close()

    def generate(self, text: str) -> None:
        messages: list[str] = []
        try:
            with quiet(messages):
                self._running.run_prefill([text])
            self._decode()
        except RuntimeError as error:
            # The Kotlin API has the native code's words in its exception, the Python package prints them.
            self._fail(" ".join([str(error), *messages]))

    def _fail(self, message: str) -> None:
        self._say(**({"cancelled": True} if self._cancelled else {"error": message}))

    def _decode(self) -> None:
        """Without the package's own loop, which takes a full context for an end like any other."""
        ended = threading.Event()

        def callback(_: object, chunk: int) -> None:
            library = self._running._lib
            # What comes after the end would be taken for the answer to the next call.
            if ended.is_set():
                return
            if error := library.litert_lm_stream_chunk_get_error(chunk):
                self._fail(error.decode())
                ended.set()
                return
            if piece := library.litert_lm_stream_chunk_get_text(chunk):
                self._say(piece=piece.decode())
            if library.litert_lm_stream_chunk_is_final(chunk):
                self._say(done=True)
                ended.set()

        # Native code may still be in it after the end.
        self._callback = STREAM_CALLBACK_TYPE(callback)
        if self._running._lib.litert_lm_session_run_decode_async(self._running._ptr, self._callback, None):
            raise RuntimeError("litert_lm_session_run_decode_async failed")
        ended.wait()


def main() -> None:
    # What native code prints must not come between the answers.
    output = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    litert_lm.set_min_log_severity(litert_lm.LogSeverity.ERROR)
    Server(output).serve(sys.stdin)


if __name__ == "__main__":
    main()
