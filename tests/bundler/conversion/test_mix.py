"""The choice of recipes for the parts of a model, against trying every mix."""

import itertools

import numpy as np
import pytest

from bundler.conversion.mix import Option, closest_mix, smallest_mix


def random_parts(seed):
    """Five parts with up to three recipes, of few sizes, as layers have, or of many."""
    random = np.random.default_rng(seed)
    sizes = [400, 225, 212] if seed % 2 else random.integers(1, 1000, 3).tolist()
    return {
        f"part {number}": [
            Option(f"recipe {size}", size * (1 + number % 2), float(random.lognormal()))
            for size in sizes[: random.integers(1, 4)]
        ]
        for number in range(5)
    }


def totals(mix):
    return sum(option.bytes for option in mix), sum(option.kl for option in mix)


@pytest.mark.parametrize("seed", range(40))
def test_as_trying_every_mix(seed):
    parts = random_parts(seed)
    every = [totals(mix) for mix in itertools.product(*parts.values())]
    smallest, largest = min(size for size, _ in every), max(size for size, _ in every)
    for size in np.linspace(smallest - 1, largest + 1, 9).astype(int):
        mix = closest_mix(parts, size)
        best = min((kl for bytes_, kl in every if bytes_ <= size), default=None)
        if best is None:
            assert mix is None
            continue
        assert totals(mix.values())[0] <= size and totals(mix.values())[1] == pytest.approx(best)
        assert list(mix) == list(parts) and all(mix[name] in parts[name] for name in parts)
    for limit in np.quantile([kl for _, kl in every], [0, 0.3, 0.9]):
        limit *= 1 + 1e-9  # sums in another order
        mix = smallest_mix(parts, limit)
        assert totals(mix.values())[0] == min(bytes_ for bytes_, kl in every if kl <= limit)
        assert totals(mix.values())[1] <= limit
    assert smallest_mix(parts, min(kl for _, kl in every) * 0.99) is None


def test_as_many_parts_as_the_largest_gpt2_has():
    random = np.random.default_rng(0)
    parts = {}
    for layer, (name, weights) in itertools.product(range(48), (("qkv", 3), ("o", 1), ("c_fc", 4), ("c_proj", 4))):
        kl = random.lognormal()
        parts[f"{layer}.{name}"] = [
            Option("int8", weights * 1000, kl / 50),
            Option("int4-block32", weights * 563, kl),
            Option("int4-block128", weights * 516, kl * random.uniform(1, 2)),
        ]
    size, kl = totals(closest_mix(parts, 400_000).values())
    assert 399_000 < size <= 400_000
    # Chosen by what a byte costs: never worse than giving int8 in order, as far as it goes.
    in_order, left = 0.0, 400_000 - sum(options[1].bytes for options in parts.values())
    for options in parts.values():
        more = options[0].bytes - options[1].bytes
        in_order += options[0 if more <= left else 1].kl
        left -= more if more <= left else 0
    assert kl < in_order
