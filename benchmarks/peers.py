"""Our bundles beside llama.cpp, ONNX Runtime, CTranslate2, PyTorch and litert-torch's own export: `make bench`.

    python benchmarks/peers.py                          # a random 124M, everything, into out/bench
    python benchmarks/peers.py CHECKPOINT -o out/mine --only llama --only int8
    python benchmarks/peers.py --seconds 200            # as many turns as fit; the next call goes on from there
    python benchmarks/peers.py --write                  # the tables and the picture go into docs/

All start from one checkpoint. Each peer's file is made once, its distance from PyTorch is taken, and then turns are
measured: next is always who has had the fewest, so that all are interleaved, over several calls too. Everything is kept
in the output folder; remove a file or `results.json` to have it made or measured anew. What is not installed is left
out, and named. docs/PERFORMANCE.md explains the figures.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import shutil
import subprocess
import sys
import textwrap
import time
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Callable

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "benchmarks" / "peers")]

import engines  # noqa: E402

from bundler.checkpoints.checkpoint import open_checkpoint  # noqa: E402
from bundler.errors import BundleError  # noqa: E402
from bundler.pipeline.bench import (  # noqa: E402
    Candidate,
    distance_from_pytorch,
    litertlm_candidate,
    measure_round,
    result_of,
)
from bundler.pipeline.bench_plot import write_plot  # noqa: E402
from bundler.pipeline.bench_tables import bench_tables, half_range, number, remarks  # noqa: E402
from bundler.pipeline.speed import Workload, open_pytorch  # noqa: E402
from bundler.system.isolated import run_isolated  # noqa: E402
from bundler.system.machine import available_cores, read_bandwidth, this_machine  # noqa: E402
from tokenizer_tools.vocabulary_files import read_vocabulary  # noqa: E402

MARKS = "<!-- measured -->", "<!-- end of what was measured -->"  # around the tables in docs/PERFORMANCE.md
TEXT_TOKENS = 256  # of the distance from PyTorch


@dataclass(frozen=True)
class Peer:
    """An engine with a file of its own making. `module` and `package` are what it needs; `make(model, path)`."""

    name: str
    module: str
    package: str
    file: str
    make: Callable[[str, Path], None]
    opener: Callable


def make_bundle(recipe: str, model: str, path: Path) -> None:
    from bundler.pipeline.build import build
    from bundler.pipeline.plan import BuildOptions

    build(BuildOptions(model, path.parent, name=path.stem, recipe=recipe, verify=False, force=True))


def make_gguf(layers: str, model: str, path: Path) -> None:
    import gguf_file

    checkpoint = open_checkpoint(model)
    kinds = getattr(gguf_file, layers), gguf_file.Q8_0
    gguf_file.write_gguf(checkpoint, read_vocabulary(checkpoint.folder), path, *kinds)


def make_onnx(model: str, path: Path) -> None:
    from onnx_file import write_onnx

    write_onnx(open_checkpoint(model), path)


def make_onnx_int8(model: str, path: Path) -> None:
    from onnx_file import quantize_onnx

    plain = path.with_name("fp32.onnx")
    if not plain.exists():
        make_onnx(model, plain)
    quantize_onnx(plain, path)


def make_ctranslate2(model: str, path: Path) -> None:
    from ctranslate2.converters import TransformersConverter

    TransformersConverter(model).convert(str(path), quantization="int8", force=True)


def make_litert_torch(model: str, path: Path) -> None:
    from litert_torch.generative.export_hf.export import export

    export(
        model,
        str(path.parent),
        prefill_lengths=[32, 256],
        cache_length=open_checkpoint(model).architecture.positions,
        quantization_recipe="dynamic_wi8_afp32",
        bundle_litert_lm=True,
    )


def peers(context: int) -> tuple[Peer, ...]:
    """Everybody but our own bundles and PyTorch, which need nothing."""
    llama, onnx = engines.open_llama_cpp, partial(engines.open_onnx_runtime, context=context)
    return (
        Peer("llama.cpp Q8_0", "llama_cpp", "llama-cpp-python", "q8_0.gguf", partial(make_gguf, "Q8_0"), llama),
        Peer("llama.cpp Q4_0", "llama_cpp", "llama-cpp-python", "q4_0.gguf", partial(make_gguf, "Q4_0"), llama),
        Peer("ONNX Runtime fp32", "onnxruntime", "onnxruntime", "fp32.onnx", make_onnx, onnx),
        Peer("ONNX Runtime int8", "onnxruntime", "onnxruntime", "int8.onnx", make_onnx_int8, onnx),
        Peer(
            "CTranslate2 int8",
            "ctranslate2",
            "ctranslate2",
            "ctranslate2",
            make_ctranslate2,
            partial(engines.open_ctranslate2, context=context),
        ),
    )


def distance(opener: Callable, path: Path, model: str, threads: int) -> dict[str, float]:
    """How far an engine's next-token distributions are from the checkpoint's in PyTorch, along the built-in text."""
    from bundler.verification.divergence import compare_rows, divergence
    from bundler.verification.references import Reference
    from bundler.verification.text import verification_text
    from tokenizer_tools.vocabulary import reference_tokenizer

    checkpoint = open_checkpoint(model)
    vocabulary = read_vocabulary(checkpoint.folder)
    ids = reference_tokenizer(vocabulary).encode(verification_text()).ids[:TEXT_TOKENS]
    ids = [*sorted(vocabulary.special_ids)[:1], *ids]
    with opener(path, threads) as engine:
        logits = engine.logits(ids)[:, : len(vocabulary)]
    figures = divergence([compare_rows(Reference(checkpoint, len(vocabulary)).logits(ids), logits, ids[1:])])
    return {"mean": figures.mean_kl, "error": figures.mean_kl_error, "same_top": figures.same_top}


class Results:
    """What was measured so far, in a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.values = {"turns": {}, "kl": {}, "left_out": {}, "bandwidth": 0.0}
        if path.exists():
            self.values |= json.loads(path.read_text(encoding="utf-8"))

    def save(self) -> None:
        self.path.write_text(json.dumps(self.values, indent=1) + "\n", encoding="utf-8")


def candidates(model: str, output: Path, only: list[str], left_out: dict[str, str]) -> list[Candidate]:
    """Everybody whose name has one of `only` in it, with the file made where it is missing. Who cannot be is told in
    `left_out`.
    """
    context, able = open_checkpoint(model).architecture.positions, []

    def wanted(name: str) -> bool:
        return not only or any(part.lower() in name.lower() for part in only)

    def made(name: str, path: Path, make: Callable) -> bool:
        if path.exists():
            return True
        print(f"{name}: making {path}", file=sys.stderr)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            run_isolated(f"making {path.name}", make, model, path)
        except (BundleError, OSError) as error:
            left_out[name] = str(error)
        return path.exists()

    for recipe in ("int8", "int4-block32"):
        name, path = f"task-bundler {recipe}", output / recipe / f"{recipe}.litertlm"
        if wanted(name) and made(name, path, partial(make_bundle, recipe)):
            able.append(litertlm_candidate(name, path, output / "caches"))
    name, path = "litert-torch int8", output / "litert-torch" / "model.litertlm"
    if wanted(name) and made(name, path, make_litert_torch):
        able.append(litertlm_candidate(name, path, output / "caches"))
    for peer in peers(context):
        if not wanted(peer.name):
            continue
        if importlib.util.find_spec(peer.module) is None:
            left_out[peer.name] = f"{peer.package} is not installed"
        elif made(peer.name, path := output / peer.file, peer.make):
            label = f"{peer.name.rsplit(' ', 1)[0]} ({peer.package} {version(peer.package)})"
            able.append(Candidate(peer.name, label, path, peer.opener, size_of(path)))
    if wanted("PyTorch fp32"):
        able.append(Candidate("PyTorch fp32", f"PyTorch {version('torch')}", model, open_pytorch))
    return able


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    return sum(part.stat().st_size for part in (path.rglob("*") if path.is_dir() else [path]) if part.is_file())


def markdown(results: list[dict]) -> str:
    """The table of docs/PERFORMANCE.md."""
    columns = [
        (kind, length)
        for kind in ("prefill", "decode")
        for length in sorted({int(length) for measured in results for length in measured[kind]})
    ]
    heads = [f"{kind} {length}" for kind, length in columns]
    lines = [
        "| tokens a second | " + " | ".join(heads) + " |",
        "|---|" + "--:|" * len(heads),
        *(
            "| " + " | ".join([m["name"], *(_cell(m[kind].get(str(length))) for kind, length in columns)]) + " |"
            for m in results
        ),
        "",
        "| | file, MB | load, s | first token, s | memory, MB | KL to fp32 |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for m in results:
        size, kl = number(m["bytes"] / 1e6) if m["bytes"] else "", f"{m['kl']['mean']:.1e}" if m["kl"] else ""
        for name, start in m["start"].items():
            label = m["name"] + {"no_cache": ", no weight cache", "new_cache": ", first start"}.get(name, "")
            memory = m["memory"] if name in ("cache", "start") else start["memory"]
            cells = [number(start[key]["median"]) for key in ("load", "first_token")]
            lines.append(f"| {label} | {size} | {' | '.join(cells)} | {number(memory['median'] / 1e6)} | {kl} |")
    return "\n".join(lines) + "\n"


def with_tables(page: str, tables: str) -> str:
    """A page with the tables in place of what stands between its marks."""
    before, _, rest = page.partition(f"{MARKS[0]}\n")
    _, _, after = rest.partition(MARKS[1])
    lines = [line if line.startswith(("|", "<")) else textwrap.fill(line, 120) for line in tables.splitlines()]
    return f"{before}{MARKS[0]}\n" + "\n".join(lines) + f"\n{MARKS[1]}{after}"


def _cell(figure: dict | None) -> str:
    return f"{number(figure['median'])} {half_range(figure)}".strip() if figure else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", help="[default: GPT-2 124M with random weights]")
    parser.add_argument("-o", "--output", type=Path, default=REPOSITORY / "out" / "bench")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="who has this in the name; repeat")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no turn after so long")
    parser.add_argument("--threads", type=int, default=min(2, available_cores()))
    parser.add_argument("--write", action="store_true", help="write the tables and the picture into docs/ too")
    parser.add_argument("--json", action="store_true", help="print the figures instead of the tables")
    options = parser.parse_args()
    started, output, workload = time.monotonic(), options.output, Workload(threads=options.threads)
    output.mkdir(parents=True, exist_ok=True)
    model = options.model or str(output / "gpt2-124M")
    if not options.model and not Path(model).exists():
        command = [sys.executable, str(REPOSITORY / "benchmarks" / "random_checkpoint.py"), "124M", "-o", model]
        subprocess.run(command, check=True)
    results = Results(output / "results.json")
    kept = results.values
    kept["left_out"] = {}
    measured = candidates(model, output, options.only, kept["left_out"])
    for candidate in [*measured]:
        if candidate.name not in kept["kl"] and candidate.opener is not open_pytorch:
            print(f"{candidate.name}: comparing with PyTorch", file=sys.stderr)
            arguments = (distance, candidate.opener, candidate.path, model, options.threads)
            if candidate.starts:
                arguments = (distance_from_pytorch, candidate.path, model)
            try:
                kept["kl"][candidate.name] = run_isolated(f"comparing {candidate.name}", *arguments)
            except BundleError as error:  # an engine that does not run the model is not timed
                kept["left_out"][candidate.name] = str(error)
                measured.remove(candidate)
            results.save()
    turns = kept["turns"]
    while measured and time.monotonic() - started < options.seconds:
        candidate = min(measured, key=lambda candidate: len(turns.get(candidate.name, [])))
        done = len(turns.setdefault(candidate.name, []))
        if done >= options.rounds:
            break
        left = sum(max(0, options.rounds - len(turns.get(each.name, []))) for each in measured)
        print(f"{candidate.name}: turn {done + 1} of {options.rounds}, {left} turns left", file=sys.stderr)
        kept["bandwidth"] = max(kept["bandwidth"], read_bandwidth(options.threads))
        turns[candidate.name].append(measure_round(candidate, workload))
        results.save()
    result = {
        "machine": asdict(this_machine()) | {"read_bandwidth": kept["bandwidth"]},
        "workload": asdict(workload),
        "rounds": min((len(turns[each.name]) for each in measured if turns.get(each.name)), default=0),
        "left_out": kept["left_out"],
        "results": [
            result_of(candidate, turns[candidate.name], kept["bandwidth"]) | {"kl": kept["kl"].get(candidate.name)}
            for candidate in measured
            if turns.get(candidate.name)
        ],
    }
    for name, reason in kept["left_out"].items():
        print(f"left out: {name}: {reason}", file=sys.stderr)
    if options.json:
        print(json.dumps(result, indent=1))
    if result["results"]:
        if not options.json:
            print(*bench_tables(result), *remarks(result), sep="\n")
        picture = '<img src="decode.svg" alt="Decode over the context, of every engine" width="800">'
        tables = f"{next(remarks(result))}\n\n{markdown(result['results'])}\n{picture}\n"
        (output / "tables.md").write_text(tables, encoding="utf-8")
        with open(output / "decode.svg", "wb") as file:
            write_plot(result["results"], file)
        if options.write:
            page = REPOSITORY / "docs" / "PERFORMANCE.md"
            page.write_text(with_tables(page.read_text(encoding="utf-8"), tables), encoding="utf-8")
            shutil.copy(output / "decode.svg", page.with_name("decode.svg"))


if __name__ == "__main__":
    main()
