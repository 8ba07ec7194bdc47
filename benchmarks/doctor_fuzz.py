"""Damaged files, thousands of them, for the doctor: it may find or not find, but not crash, hang or take much memory.

    python benchmarks/doctor_fuzz.py out/sample [--trials 20000] [--seed 1] [--json]

Takes the .task, .litertlm, SentencePiece and adapter files in the folders, beside each .task one with a tokenizer of a
few kilobytes, so that more damage hits the rest, and the bare models. Each trial flips, overwrites, cuts, inserts or
repeats bytes of one of them, half of the time near the beginning or the end, where the structure is. The trials run in
a process of their own: that it dies counts as a crash, that it is silent for ten seconds as a hang. What the doctor
calls sound is then given to this project's other readers, and a tokenizer to sentencepiece: what they refuse counts as
a disagreement.
"""

import argparse
import io
import json
import multiprocessing
import random
import resource
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

SILENCE, LIMIT_SECONDS, LIMIT_MB = 10, 2.0, 1024
KINDS = (".task", ".litertlm", ".model", ".tflite")
NUMBERS = (0, 1, 3, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFFE)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, help="outputs of task-bundler build, best of a tiny model")
    parser.add_argument("--trials", type=int, default=20000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="doctor-fuzz-") as folder:
        sources = gather(options.folders, Path(folder))
        result = fuzz(sources, Path(folder), options.trials, options.seed)
    print(
        f"{options.trials} trials in {result['seconds']:.0f} s, of {len(sources)} files: {result['outcomes']}\n"
        f"slowest {result['slowest_seconds'] * 1000:.0f} ms ({result['slowest']}), peak memory {result['peak_mb']:.0f} "
        "MB, "
        f"{len(result['crashes'])} crashes, {len(result['hangs'])} hangs, "
        f"{len(result['disagreements'])} disagreements, {len(result['codes'])} codes met",
        file=sys.stderr,
    )
    if options.json:
        print(json.dumps(result, indent=1))
    return int(
        bool(
            result["crashes"]
            or result["hangs"]
            or result["slowest_seconds"] > LIMIT_SECONDS
            or result["peak_mb"] > LIMIT_MB
        )
    )


def gather(folders: list[Path], work: Path) -> list[Path]:
    """The files to damage, those derived written to `work`."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from bundler.containers.task import MODEL_ENTRY, TOKENIZER_ENTRY, read_task, write_task

    sources = [path for folder in folders for path in sorted(folder.rglob("*")) if path.suffix in KINDS]
    small = small_tokenizer()
    for number, path in enumerate([path for path in sources if path.suffix == ".task"]):
        file = read_task(path)
        entries = {entry.name: file.read_entry(entry.name) for entry in file.entries}
        write_task(work / f"small{number}.task", {**entries, TOKENIZER_ENTRY: small})
        (work / f"bare{number}.tflite").write_bytes(entries[MODEL_ENTRY])
        sources += [work / f"small{number}.task", work / f"bare{number}.tflite"]
    (work / "small.model").write_bytes(small)
    return [*sources, work / "small.model"]


def small_tokenizer() -> bytes:
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["a few words for a few pieces"] * 5),
        model_writer=model,
        vocab_size=40,
        hard_vocab_limit=False,
        normalization_rule_name="identity",
        control_symbols=["<|endoftext|>"],
        minloglevel=2,
    )
    return model.getvalue()


def fuzz(sources: list[Path], work: Path, trials: int, seed: int) -> dict:
    """Run the trials; returns the counts, the slowest trial and the peak memory of the process that ran them."""
    started, done = time.perf_counter(), 0
    result = {
        "trials": trials,
        "seed": seed,
        "outcomes": Counter(),
        "codes": Counter(),
        "crashes": [],
        "hangs": [],
        "disagreements": [],
        "slowest_seconds": 0.0,
        "slowest": "",
        "peak_mb": 0.0,
    }
    context = multiprocessing.get_context("spawn")
    while done < trials:
        receiver, sender = context.Pipe(duplex=False)
        worker = context.Process(target=work_on, args=(sources, work, done, trials, seed, sender))
        worker.start()
        sender.close()
        while done < trials:
            try:
                if not receiver.poll(SILENCE + 20 * (done == 0)):
                    result["hangs"].append(done)
                    worker.kill()
                    break
                name, outcome, codes, seconds, peak, refusal = receiver.recv()
            except EOFError:
                worker.join()
                result["crashes"].append({"trial": done, "exit": worker.exitcode})
                break
            if outcome.startswith("exception"):
                result["crashes"].append({"trial": done, "file": name, "error": outcome})
            if refusal:
                result["disagreements"].append({"trial": done, "file": name, "refusal": refusal})
            result["outcomes"][outcome] += 1
            result["codes"].update(codes)
            result["peak_mb"] = max(result["peak_mb"], peak)
            if seconds > result["slowest_seconds"]:
                result["slowest_seconds"], result["slowest"] = seconds, f"trial {done}, {name}"
            done += 1
        else:
            worker.join()
            break
        worker.join()
        done += 1
    return {
        **result,
        "seconds": time.perf_counter() - started,
        "outcomes": dict(result["outcomes"]),
        "codes": dict(result["codes"].most_common()),
    }


def work_on(sources: list[Path], work: Path, first: int, trials: int, seed: int, sender) -> None:
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from bundler.doctor.examine import examine

    contents = [path.read_bytes() for path in sources]
    for trial in range(first, trials):
        chance = random.Random(f"{seed}.{trial}")
        which = chance.randrange(len(sources))
        broken = work / f"trial{sources[which].suffix}"
        broken.write_bytes(damage(contents[which], chance))
        started = time.perf_counter()
        try:
            report = examine(broken)
            json.dumps(report.as_dict(), allow_nan=False).encode("utf-8")
            outcome, codes = (
                ("error" if report.errors else "warning" if report.findings else "clean"),
                {each.code for each in report.findings},
            )
        except Exception as error:  # what must not happen
            outcome, codes = f"exception {type(error).__name__}: {error}", set()
        seconds, peak = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        sender.send(
            (
                sources[which].name,
                outcome,
                codes,
                seconds,
                peak,
                refusal_of(broken, report) if outcome in ("clean", "warning") else "",
            )
        )


def refusal_of(path: Path, report) -> str:
    """What another reader has against a file that the doctor calls sound; empty if nothing."""
    import sentencepiece

    from bundler.containers.bundle import open_bundle
    from bundler.containers.task import read_task
    from bundler.errors import BundleError
    from bundler.tflite.adapter_file import read_adapter_file
    from lora_weights.errors import LoraError

    try:
        match report.kind:
            case ".task":
                for entry in read_task(path).entries:
                    read_task(path).check_entry(entry.name)
                open_bundle(path)
            case ".litertlm":
                open_bundle(path)
            case "adapter" if report.facts["adapter"]["header"]:  # else it passes for one of another maker
                read_adapter_file(path)
            case "tokenizer":
                sentencepiece.SentencePieceProcessor(model_proto=path.read_bytes())
    except (BundleError, LoraError, RuntimeError) as error:
        return str(error)[:300]
    return ""


def damage(data: bytes, chance: random.Random) -> bytes:
    """One to four injuries."""
    data = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        size = len(data)
        if size < 8:
            break
        reach = chance.choice((size, size, 256, 4096, 65536))
        at = chance.randrange(min(reach, size))
        if chance.random() < 0.3:
            at = size - 1 - at
        match chance.randrange(8):
            case 0 | 1:
                data[at] ^= 1 << chance.randrange(8)
            case 2:
                data[at] = chance.randrange(256)
            case 3 | 4:  # a number in the place of a number
                at -= at % 4
                data[at : at + 4] = chance.choice((*NUMBERS, size, size - 1, chance.randrange(size))).to_bytes(
                    4, "little"
                )
            case 5:  # cut out, or cut short
                del data[at : chance.choice((at + 1, at + 4, at + chance.randrange(1, 4096), size))]
            case 6:
                data[at:at] = chance.randbytes(chance.choice((1, 4, 100)))
            case 7:
                source = chance.randrange(size)
                data[at : at + 64] = data[source : source + 64]
    return bytes(data)


if __name__ == "__main__":
    sys.exit(main())
