"""Empty files where npm would install MediaPipe's engine for the web, so that `try` has something to serve."""

from pathlib import Path

from bundler.web.runtime import ENGINE_PACKAGE, runtime_folder


def write_empty_web_runtime(cache: Path) -> None:
    """`cache`: what XDG_CACHE_HOME names."""
    engine = cache / "task-bundler" / runtime_folder().name / "node_modules" / ENGINE_PACKAGE
    (engine / "wasm").mkdir(parents=True)
    for name in ("genai_bundle.mjs", "wasm/genai_wasm_internal.js", "wasm/genai_wasm_internal.wasm"):
        (engine / name).write_text("")
