"""Speeds of several files and engines beside each other: rounds in which each has its turn, medians, and the floor that
the memory sets.
"""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Callable, Iterable, Mapping, Sequence

from bundler.containers.bundle import open_bundle
from bundler.engines.litertlm import NO_CACHE
from bundler.errors import OptionError
from bundler.pipeline.speed import Opener, Workload, measure_speed, measure_start, open_litertlm, open_pytorch
from bundler.system.isolated import run_isolated
from bundler.system.machine import available_cores, read_bandwidth, this_machine
from bundler.system.native_output import quiet
from bundler.system.temporary_folder import temporary_folder
from bundler.tflite.model import open_model
from bundler.tflite.weights import decode_bytes

MOST_THREADS = 4  # of the default: as many large cores as phones have
# What memory of phones could read at most, in bytes a second: the data rates of JEDEC's JESD209-4-1 and JESD209-5
# (transfers a second) times the 8 bytes that the four 16-bit channels of a phone carry.
PHONES = {"LPDDR4X-4266": 4.266e9 * 8, "LPDDR5-6400": 6.4e9 * 8, "LPDDR5X-9600": 9.6e9 * 8}
# The share of that which a phone's cores are assumed to get. The upper end is the data rate itself, and no measurement;
# the lower end is a guess that leaves room for a few small cores, other apps and heat.
PHONE_SHARES = (0.4, 1.0)


@dataclass(frozen=True)
class BenchOptions:
    """How speeds are measured. `against`: the checkpoint, to be timed in PyTorch too and to take the divergence from.

    `threads` None: as many as there are cores, at most four.
    """

    against: str | None = None
    prefill_lengths: tuple[int, ...] = Workload.prefill
    decode_lengths: tuple[int, ...] = Workload.decode
    tokens: int = Workload.tokens
    rounds: int = 3
    threads: int | None = None

    def workload(self) -> Workload:
        """What each engine is given. Raises OptionError for lengths and threads that nothing can have."""
        for name, given in (("prefill_lengths", self.prefill_lengths), ("decode_lengths", self.decode_lengths)):
            if not given or min(given) < 1:
                raise OptionError(f"`{name}` {','.join(map(str, given))}: expected numbers of tokens from 1 on")
        cores = available_cores()
        threads = self.threads or min(cores, MOST_THREADS)
        if threads > cores:
            raise OptionError(f"`threads` {threads}: this machine gives {cores} cores; give at most as many")
        return Workload(self.prefill_lengths, self.decode_lengths, self.tokens, threads)


@dataclass(frozen=True)
class Candidate:
    """What is measured under a `name`: `path` in `engine`, opened by `opener`.

    `starts`: openers whose load and first token are measured besides, by name. `bytes_a_token`: of the weights, and of
    the cache for each token in it; None: not known.
    """

    name: str
    engine: str
    path: Path | str
    opener: Opener
    size: int | None = None
    starts: Mapping[str, Opener] | None = None
    bytes_a_token: tuple[int, int] | None = None


def litertlm_candidate(name: str, path: Path, caches: Path) -> Candidate:
    """A .task or .litertlm file in LiteRT-LM. Its weight caches go to folders in `caches`.

    It starts without a cache, with an empty folder for one, and (the speeds too) with the cache that is then there.
    """
    size, bytes_a_token = path.stat().st_size, decode_bytes(open_model(open_bundle(path).model))
    kept = caches / name.replace("/", "_")
    kept.mkdir(parents=True, exist_ok=True)
    opener = partial(open_litertlm, weight_cache=kept)
    starts = {"no_cache": partial(open_litertlm, weight_cache=NO_CACHE), "new_cache": open_litertlm, "cache": opener}
    return Candidate(name, f"LiteRT-LM {version('litert-lm-api')}", path, opener, size, starts, bytes_a_token)


def pytorch_candidate(model: str) -> Candidate:
    """The checkpoint in PyTorch."""
    return Candidate(f"{Path(model).name} in PyTorch", f"PyTorch {version('torch')}", model, open_pytorch)


def measure_round(candidate: Candidate, workload: Workload) -> dict[str, Any]:
    """One turn of a candidate, each part in a process of its own: prefill, decode, and how it starts."""
    what = f"measuring {candidate.name}"
    starts = candidate.starts or {"start": candidate.opener}
    # The speeds come first: they leave the weight cache that the last start finds.
    figures = run_isolated(what, measure_speed, candidate.opener, candidate.path, workload)
    return figures | {
        "start": {
            name: run_isolated(what, measure_start, opener, candidate.path, workload.threads)
            for name, opener in starts.items()
        }
    }


def measure_rounds(
    candidates: Sequence[Candidate],
    workload: Workload,
    rounds: int,
    begun: Callable[[int, int, str], None] = lambda done, total, text: None,
) -> tuple[dict[str, list[dict]], float]:
    """(the turns of each candidate by name, bytes a second that the memory gave at best).

    Each round gives each candidate a turn, so that what else the machine does falls on all of them. `begun` is told
    how many turns of how many are done, and what comes.
    """
    turns: dict[str, list[dict]] = {candidate.name: [] for candidate in candidates}
    bandwidth, done, total = 0.0, 0, rounds * len(candidates)
    for number in range(1, rounds + 1):
        begun(done, total, f"round {number} of {rounds}: memory")
        bandwidth = max(bandwidth, read_bandwidth(workload.threads))
        for candidate in candidates:
            begun(done, total, f"round {number} of {rounds}: {candidate.name}")
            turns[candidate.name].append(measure_round(candidate, workload))
            done += 1
    begun(done, total, "done")
    return turns, bandwidth


def bench(
    files: Sequence[Path],
    options: BenchOptions = BenchOptions(),
    begun: Callable[[int, int, str], None] = lambda done, total, text: None,
) -> dict[str, Any]:
    """Measure .task and .litertlm files in LiteRT-LM, and with `options.against` the checkpoint in PyTorch.

    Returns what `task-bundler bench --json` prints; docs/PERFORMANCE.md explains each figure. Raises BundleError when
    LiteRT-LM refuses a file.
    """
    workload = options.workload()
    names = distinct_names(files)
    with temporary_folder("bench") as folder:
        candidates = [litertlm_candidate(name, path, folder) for name, path in zip(names, files)]
        divergences = {}
        if options.against is not None:
            for candidate in candidates:
                begun(0, 1, f"{candidate.name} against PyTorch")
                divergences[candidate.name] = run_isolated(
                    f"comparing {candidate.name}", distance_from_pytorch, candidate.path, options.against
                )
            candidates.append(pytorch_candidate(options.against))
        turns, bandwidth = measure_rounds(candidates, workload, options.rounds, begun)
    return {
        "machine": asdict(this_machine()) | {"read_bandwidth": bandwidth},
        "workload": asdict(workload),
        "rounds": options.rounds,
        "results": [
            result_of(candidate, turns[candidate.name], bandwidth) | {"kl": divergences.get(candidate.name)}
            for candidate in candidates
        ],
    }


def result_of(candidate: Candidate, turns: Sequence[dict], bandwidth: float) -> dict[str, Any]:
    """The figures of one candidate: its turns as medians and ranges, and beside decode what memory allows."""
    figures = summarize(turns)
    result = {
        "name": candidate.name,
        "engine": candidate.engine,
        "path": str(candidate.path),
        "bytes": candidate.size,
        **figures,
    }
    if candidate.bytes_a_token:
        result["floor"] = {
            length: floor(candidate.bytes_a_token, int(length), speed["median"], bandwidth)
            for length, speed in figures["decode"].items()
        }
    return result


def summarize(turns: Sequence[dict]) -> dict[str, Any]:
    """The same figures of several turns, nested alike, each as its `spread`."""
    return {
        key: summarize([turn[key] for turn in turns]) if isinstance(value, dict) else spread([t[key] for t in turns])
        for key, value in turns[0].items()
    }


def spread(values: Iterable[float]) -> dict[str, float]:
    """Median, least and most, to four digits."""
    values = sorted(values)
    figures = {"median": statistics.median(values), "least": values[0], "most": values[-1]}
    return {name: float(f"{value:.4g}") for name, value in figures.items()}


def floor(bytes_a_token: tuple[int, int], length: int, speed: float, bandwidth: float) -> dict[str, Any]:
    """What reading the memory allows at `length` tokens of context, beside the `speed` that was measured, in tokens a
    second; and from both an estimate for phones, as a range.

    The estimate takes it that a phone comes as near to what its memory allows as this machine does, for which the
    shares of `PHONE_SHARES` are assumed of the data rates of `PHONES`. It knows nothing of a phone's cores.
    """
    weights, cache = bytes_a_token
    size = weights + cache * length
    reached = speed * size / bandwidth
    allowed = {name: min(reached, 1.0) * rate / size for name, rate in PHONES.items()}
    return {
        "bytes_a_token": size,
        "tokens_per_second": float(f"{bandwidth / size:.4g}"),
        "reached": float(f"{reached:.4g}"),
        "phones": {name: [float(f"{s * most:.3g}") for s in PHONE_SHARES] for name, most in allowed.items()},
    }


def distinct_names(files: Sequence[Path]) -> list[str]:
    """The files' names, with as many of their folders as it takes to tell them apart."""
    parts = [path.absolute().parts for path in files]
    if len({*parts}) < len(parts):
        raise OptionError("a file was given twice; give each once")
    depth = next(
        depth for depth in range(1, 1 + max(map(len, parts))) if len({p[-depth:] for p in parts}) == len(parts)
    )
    return ["/".join(part[-depth:]) for part in parts]


def distance_from_pytorch(path: Path, model: str) -> dict[str, float]:
    """How far the file's next-token distributions are from the checkpoint's, along the built-in text.

    Returns the mean KL divergence in nats with its standard error, and the share of equal top tokens.
    """
    from bundler.checkpoints.checkpoint import open_checkpoint
    from bundler.containers.tokenizer import bundle_tokenizer
    from bundler.doctor.own_pieces import read_sound_vocabulary
    from bundler.tflite.fixed_model import write_fixed
    from bundler.verification.logit_gates import text_distance, verification_pair

    bundle, checkpoint = open_bundle(path), open_checkpoint(model)
    tokenizer = bundle_tokenizer(bundle, read_sound_vocabulary(checkpoint.folder))
    with temporary_folder("verify") as folder, quiet():
        write_fixed(bundle.model, folder / "model.tflite")
        distance = text_distance(verification_pair(folder / "model.tflite", checkpoint, tokenizer, ""))
    return {"mean": distance.mean_kl, "error": distance.mean_kl_error, "same_top": distance.same_top}
