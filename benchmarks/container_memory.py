"""Peak memory and time of writing, reading out and packing a large model, in a process of its own each.

    python benchmarks/container_memory.py [--megabytes 1024] [--mediapipe] [--json]

The model is a sparse file, so that only the copies take disk space (three times its size at most).
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

STEPS = ("imports", "task write", "task copy out", "litertlm write", "litertlm copy out")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=1024, help="size of the model")
    parser.add_argument(
        "--mediapipe", action="store_true", help="also pack with MediaPipe's bundler, which holds the model in memory"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    parser.add_argument("--step", nargs=2, metavar=("STEP", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        return run_step(options.step[0], Path(options.step[1]))
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        with open(Path(folder) / "model.tflite", "wb") as stream:
            stream.truncate(options.megabytes << 20)
        for step in STEPS + ("mediapipe write",) * options.mediapipe:
            command = [sys.executable, __file__, "--step", step, folder]
            results[step] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
            result = results[step]
            print(f"{step:20}{result['peak_mb']:8.0f} MB peak{result['seconds']:8.1f} s", file=sys.stderr)
    if options.json:
        print(json.dumps({"megabytes": options.megabytes, "steps": results}, indent=1))


def run_step(step: str, folder: Path) -> None:
    repository = Path(__file__).resolve().parent.parent
    sys.path[:0] = [str(repository), str(repository / "tests")]
    from mediapipe_packer import pack_with_mediapipe

    from bundler.containers.litertlm import MODEL_SECTION, read_litertlm, write_litertlm
    from bundler.containers.llm_metadata import LlmMetadata
    from bundler.containers.llm_parameters import LlmParameters
    from bundler.containers.task import METADATA_ENTRY, MODEL_ENTRY, TOKENIZER_ENTRY, read_task, write_task

    model, task, litertlm, tokenizer = (
        folder / name for name in ("model.tflite", "a.task", "a.litertlm", "tokenizer.model")
    )
    parameters = LlmParameters(start_token="</s>", stop_tokens=("</s>",))
    if step == "mediapipe write":
        _train_tokenizer(tokenizer)
    started = time.perf_counter()
    match step:
        case "task write":
            write_task(task, {MODEL_ENTRY: model, TOKENIZER_ENTRY: b"tokenizer", METADATA_ENTRY: parameters.encode()})
        case "task copy out":
            read_task(task).copy_entry(MODEL_ENTRY, folder / "copy")
        case "litertlm write":
            write_litertlm(litertlm, model, LlmMetadata(start_token=0, stop_tokens=(0,)), tokenizer_json=b"{}")
        case "litertlm copy out":
            file = read_litertlm(litertlm)
            file.copy_section(file.find(MODEL_SECTION), folder / "copy")
        case "mediapipe write":
            pack_with_mediapipe(folder / "b.task", model, tokenizer, parameters)
    seconds = time.perf_counter() - started
    # ru_maxrss: kilobytes on Linux, bytes on macOS.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "linux" else 1 << 20)
    print(json.dumps({"peak_mb": round(peak, 1), "seconds": round(seconds, 2)}))


def _train_tokenizer(path: Path) -> None:
    import sentencepiece

    with open(path, "wb") as stream:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(["a few words"] * 5),
            model_writer=stream,
            vocab_size=20,
            hard_vocab_limit=False,
            minloglevel=2,
        )


if __name__ == "__main__":
    main()
