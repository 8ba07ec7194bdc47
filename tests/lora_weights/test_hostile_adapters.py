"""PEFT folders made to be slow, large or misread: each is refused in one sentence, within a moment, by every reader."""

import json
import os
import pickle
import re
import shutil
import struct
import zipfile

import numpy as np
import pytest
import torch
from peft_folders import LAYERS, WIDTH, edit_config, edit_tensors, tiny_model, write_adapter

from bundler.lora.describe import describe_adapter
from lora_weights.errors import LoraError
from lora_weights.merge_checkpoint import merge_into_checkpoint
from lora_weights.peft_adapter import read_peft

KEY = "base_model.model.transformer.h.1.attn.c_proj.lora_A.weight"
ENDLESS = r"(.*.*.*.*.*.*.*.*.*.*)*\d\d\d\d"

pytestmark = pytest.mark.timeout(120)  # for what hangs; none of these takes seconds


def refusal(call, *arguments):
    with pytest.raises(LoraError) as error:
        call(*arguments)
    text = str(error.value)
    assert len(text) <= 600 and text.isprintable(), text
    return text


def raw_config(text):
    return lambda folder: (folder / "adapter_config.json").write_text(text)


def fields(**values):
    return lambda folder: edit_config(folder, **values)


def tensors(change):
    return lambda folder: edit_tensors(folder, change)


def raw_weights(data):
    return lambda folder: (folder / "adapter_model.safetensors").write_bytes(data)


def header(value, data=b""):
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return raw_weights(struct.pack("<Q", len(text)) + text + data)


def as_bin(value, **options):
    def plant(folder):
        (folder / "adapter_model.safetensors").unlink()
        torch.save(value() if callable(value) else value, folder / "adapter_model.bin", **options)

    return plant


def instead(name, make):
    def plant(folder):
        (folder / name).unlink()
        make(folder / name)

    return plant


def pickled(instructions):
    """adapter_model.bin with this in the place of its pickle."""

    def plant(folder):
        as_bin({})(folder)
        path = folder / "adapter_model.bin"
        with zipfile.ZipFile(path) as archive:
            entries = {name: archive.read(name) for name in archive.namelist()}
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in entries.items():
                archive.writestr(name, instructions if name.endswith("data.pkl") else data)

    return plant


def compressed(folder):
    as_bin({KEY: torch.ones(2, 2), "padding": torch.zeros(10_000_000)})(folder)
    path = folder / "adapter_model.bin"
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)


class Evil:
    def __reduce__(self):
        return os.mkdir, (os.environ["HOSTILE_MARK"],)


CONFIGS = {
    "target_modules without end": (fields(target_modules=ENDLESS), "takes more than 1 s"),
    "exclude_modules without end": (fields(exclude_modules=ENDLESS), "takes more than 1 s"),
    "rank_pattern without end": (fields(rank_pattern={ENDLESS: 4}), "takes more than 1 s"),
    "alpha_pattern without end": (fields(alpha_pattern={ENDLESS: 4}), "takes more than 1 s"),
    "layers_pattern without end": (fields(layers_to_transform=[1], layers_pattern=ENDLESS), "takes more than 1 s"),
    "a regex that is none": (fields(target_modules="(["), "no regex"),
    "a regex nested too deeply": (fields(target_modules="(" * 4000 + ")" * 4000), "no regex"),
    "a regex of a megabyte": (fields(target_modules="a" * 500_000), "limit"),
    "50,000 patterns": (
        fields(rank_pattern={f"a{number}*": 1 for number in range(50_000)}),
        "takes more than 1 s|limit",
    ),
    "target_modules 5": (fields(target_modules=5), "target_modules 5"),
    "target_modules [5]": (fields(target_modules=[5]), r"target_modules \[5\]"),
    "target_modules null": (fields(target_modules=None), "target_modules None"),
    "exclude_modules {}": (fields(exclude_modules={"a": 1}), "exclude_modules"),
    "layers_to_transform a string": (fields(layers_to_transform="1"), "layers_to_transform '1'"),
    "layers_to_transform 999999999": (fields(layers_to_transform=999_999_999), "match no attention layer"),
    "layers_to_transform [true]": (fields(layers_to_transform=[True]), "layers_to_transform"),
    "layers_pattern 1": (fields(layers_pattern=1), "layers_pattern 1"),
    "r a string": (fields(r="8"), "r '8'"),
    "r a list": (fields(r=[8]), r"r \[8\]"),
    "r true": (fields(r=True), "r True"),
    "r negative": (fields(r=-1), "r -1"),
    "r 1e308": (fields(r=1e308), r"r 1e\+308"),
    "r null": (fields(r=None), "rank None"),
    "r of 4000 digits": (raw_config('{"peft_type": "LORA", "r": ' + "9" * 4000 + "}"), "r 999.*999"),
    "r of 5000 digits": (raw_config('{"peft_type": "LORA", "r": ' + "9" * 5000 + "}"), "cannot be read .*digits"),
    "r 10^9": (fields(r=10**9), "r 1000000000"),
    "r far beyond the tensors": (fields(r=10**5), "rank 100000"),
    "lora_alpha NaN": (fields(lora_alpha=float("nan")), "lora_alpha nan"),
    "lora_alpha Infinity": (fields(lora_alpha=float("inf")), "lora_alpha inf"),
    "lora_alpha null": (fields(lora_alpha=None), "alpha None"),
    "lora_alpha a list": (fields(lora_alpha=[16]), r"lora_alpha \[16\]"),
    "lora_alpha beyond a double digits": (fields(lora_alpha=10**400), "lora_alpha 1000"),
    "rank_pattern a list": (fields(rank_pattern=["c_attn"]), "rank_pattern"),
    "rank_pattern with a string": (fields(rank_pattern={"c_attn": "8"}), "rank_pattern"),
    "alpha_pattern with NaN": (fields(alpha_pattern={"c_attn": float("nan")}), "alpha_pattern"),
    "use_rslora a string": (fields(use_rslora="false"), "use_rslora 'false'"),
    "modules_to_save a number": (fields(modules_to_save=3), "modules_to_save 3"),
    "an unknown field, huge": (fields(**{"x\n" * 100_000: ["y" * 100_000] * 5}), "not known here"),
    "a list": (raw_config("[]"), "peft_type None"),
    "empty": (raw_config(""), "cannot be read"),
    "not UTF-8": (lambda folder: (folder / "adapter_config.json").write_bytes(b"\xff\xfe{}"), "cannot be read"),
    "nested": (raw_config("[" * 200_000), "cannot be read"),
    "nested in a field": (raw_config('{"peft_type": "LORA", "r": ' + "[" * 400 + "]" * 400 + "}"), r"r \[\[\["),
    "2 MB": (raw_config('{"peft_type": "LORA"}' + " " * 2_000_000), "limit"),
    "a directory": (instead("adapter_config.json", os.mkdir), "has no adapter_config.json"),
    "a FIFO": (instead("adapter_config.json", os.mkfifo), "has no adapter_config.json"),
    "a symlink to nothing": (
        instead("adapter_config.json", lambda path: path.symlink_to("/nowhere/at/all")),
        "has no adapter_config.json",
    ),
    "a symlink to itself": (
        instead("adapter_config.json", lambda path: path.symlink_to(path)),
        "has no adapter_config.json",
    ),
    "a symlink to an endless device": (
        instead("adapter_config.json", lambda path: path.symlink_to("/dev/zero")),
        "has no adapter_config.json",
    ),
    "peft_type a novel": (fields(peft_type="LORA " * 10_000), "peft_type 'LORA LORA"),
}

WEIGHTS = {
    "layer 999,999,999": (
        tensors(lambda stored: stored.update({KEY.replace("h.1", "h.999999999"): stored.pop(KEY)})),
        "layer",
    ),
    "a layer of 150 digits": (
        tensors(lambda stored: stored.update({KEY.replace("h.1", "h." + "9" * 150): stored.pop(KEY)})),
        "layer",
    ),
    "NaN": (tensors(lambda stored: stored[KEY].fill_(float("nan"))), "NaN or infinite"),
    "beyond float32": (
        tensors(lambda stored: stored.update({KEY: torch.full((4, WIDTH), 1e300, dtype=torch.float64)})),
        "NaN or infinite",
    ),
    "beyond float32 once scaled": (tensors(lambda stored: stored[KEY].fill_(3e38)), "NaN or infinite"),
    "a scalar": (tensors(lambda stored: stored.update({KEY: torch.tensor(1.0)})), "has the shape"),
    "scalars only": (
        tensors(lambda stored: stored.update({name: torch.tensor(1.0) for name in stored})),
        "has the shape",
    ),
    "width 0": (
        tensors(
            lambda stored: stored.update({name: torch.zeros((4, 0) if "lora_A" in name else (0, 4)) for name in stored})
        ),
        "positive",
    ),
    "three dimensions": (tensors(lambda stored: stored.update({KEY: torch.ones(4, WIDTH, 1)})), "has the shape"),
    "transposed": (tensors(lambda stored: stored.update({KEY: stored[KEY].T.contiguous()})), "has the shape"),
    "integers": (tensors(lambda stored: stored.update({KEY: torch.ones(4, WIDTH, dtype=torch.int64)})), "I64"),
    "no A": (tensors(lambda stored: stored.pop(KEY)), "lacks 1 tensor"),
    "a name of 100,000 letters": (
        tensors(lambda stored: stored.update({"a" * 100_000: stored[KEY]})),
        "200 characters",
    ),
    "a name that clears the screen": (tensors(lambda stored: stored.update({"\x1b[2J\n": stored[KEY]})), "printable"),
    "empty": (raw_weights(b""), "not a complete safetensors"),
    "no tensors": (header({}), "no tensors"),
    "a header of 2^62 bytes": (raw_weights(struct.pack("<Q", 2**62) + b"{}"), "not a complete safetensors"),
    "a nested header": (header(b'{"a":' + b"[" * 100_000), "not a complete safetensors"),
    "a name twice": (
        header(
            b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}',
            bytes(8),
        ),
        "not a complete safetensors|factor",
    ),
    "overlapping": (
        header(
            {
                "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
                "b": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]},
            },
            bytes(12),
        ),
        "not a complete safetensors",
    ),
    "a shape that overflows": (
        header({"a": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 4]}}, bytes(4)),
        "not a complete",
    ),
    "600 MB of nothing": (lambda folder: os.truncate(folder / "adapter_model.safetensors", 600_000_000), "MB"),
    "a directory": (instead("adapter_model.safetensors", os.mkdir), "has neither"),
    "a FIFO": (instead("adapter_model.safetensors", os.mkfifo), "has neither"),
    "a symlink to /etc/passwd": (
        instead("adapter_model.safetensors", lambda path: path.symlink_to("/etc/passwd")),
        "not a complete",
    ),
    "a .bin that runs code": (as_bin(lambda: {KEY: Evil()}), "without running code"),
    "a .bin of before 1.6 that runs code": (
        as_bin(lambda: {KEY: Evil()}, _use_new_zipfile_serialization=False),
        "without running code",
    ),
    "a .bin that is a plain pickle": (
        lambda folder: (as_bin({})(folder), (folder / "adapter_model.bin").write_bytes(pickle.dumps(Evil()))),
        "without running code",
    ),
    "a .bin that is empty": (
        lambda folder: (as_bin({})(folder), (folder / "adapter_model.bin").write_bytes(b"")),
        "damaged",
    ),
    "a .bin cut short": (
        lambda folder: (as_bin({KEY: torch.ones(4)})(folder), os.truncate(folder / "adapter_model.bin", 300)),
        "damaged",
    ),
    "a .bin of no tensors": (as_bin({}), "holds no tensors"),
    "a .bin that is a list": (as_bin([torch.ones(2)]), "named tensors"),
    "a .bin with numbers for names": (as_bin({1: torch.ones(2)}), "named tensors"),
    "a .bin that is compressed": (compressed, "compressed"),
    "a .bin of a parameter": (as_bin({KEY: torch.nn.Parameter(torch.ones(2, 2))}), "lacks"),
    "a .bin of integers": (as_bin({KEY: torch.ones(2, 2, dtype=torch.int8)}), "int8"),
    "a .bin of complex numbers": (as_bin({KEY: torch.ones(2, 2, dtype=torch.complex64)}), "complex64"),
    "a .bin of a sparse tensor": (as_bin({KEY: torch.eye(4).to_sparse()}), "sparse"),
    "a .bin with a terabyte out of four bytes": (
        as_bin({KEY: torch.ones(1).expand(2**19, 2**19)}),
        "over a storage of 4 bytes",
    ),
    "a .bin of a meta tensor": (as_bin({KEY: torch.ones(2**20, 2**20, device="meta")}), "without running code|damaged"),
    "a .bin of nested tuples": (pickled(b"\x80\x02})" + b"\x85" * 500_000 + b"K\x01s."), "nests tuples"),
    "a .bin of shared tuples": (
        pickled(b"\x80\x02})" + b"".join(b"q%ch%c\x86" % (n, n) for n in range(60)) + b"K\x01s."),
        "nests tuples",
    ),
    "a .bin that asks for 2 GB": (pickled(b"\x80\x02}cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R."), "bytearray"),
    "a .bin that takes from an empty stack": (pickled(b"\x80\x02."), "damaged"),
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sound") / "adapter"
    write_adapter(folder)
    return folder


@pytest.fixture
def folder(sound, tmp_path, monkeypatch):
    monkeypatch.setenv("HOSTILE_MARK", str(tmp_path / "code_was_run"))
    shutil.copytree(sound, tmp_path / "adapter")
    yield tmp_path / "adapter"
    assert not (tmp_path / "code_was_run").exists()


@pytest.mark.parametrize("name", CONFIGS)
def test_configs(folder, name):
    plant, expected = CONFIGS[name]
    plant(folder)
    assert re.search(expected, refusal(read_peft, folder))


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights(folder, name):
    plant, expected = WEIGHTS[name]
    plant(folder)
    for layers in (LAYERS, None):
        assert re.search(expected, refusal(read_peft, folder, layers))


def test_a_base_fingerprint_that_is_none(folder):
    (folder / "training.json").write_text('{"base_fingerprint": 5}')
    assert "base_fingerprint 5" in refusal(describe_adapter, folder)
    (folder / "training.json").unlink()
    (folder / "README.md").unlink()
    os.mkfifo(folder / "README.md")
    os.mkfifo(folder / "training.json")
    assert read_peft(folder).licence is None


@pytest.mark.parametrize(
    "options",
    [
        {"target_modules": r".*\.(attn|mlp)\.c_proj", "exclude_modules": r".*mlp.*"},
        {"rank_pattern": {r"h\.[0-1]\.attn\.(c_attn|nothing)": 2}},
        {"target_modules": ["c_attn"], "layers_to_transform": [1], "layers_pattern": "(h|layers)"},
    ],
)
def test_regexes_that_end_mean_what_they_mean_to_peft(tmp_path, options):
    model = write_adapter(tmp_path, **options)
    ranks = {
        (int(name.split(".")[4]), name.split(".")[6]): tensor.shape[0]
        for name, tensor in model.named_parameters()
        if "lora_A" in name
    }
    pairs = read_peft(tmp_path, LAYERS).pairs
    assert {
        (layer, "c_proj" if projection == "o" else "c_attn"): pair.rank for (layer, projection), pair in pairs.items()
    } == ranks


# What peft reads itself, in merging with a checkpoint.
MERGING = {
    **{name: CONFIGS[name] for name in CONFIGS if "without end" in name},
    "modules_to_save without end": (fields(modules_to_save=[ENDLESS]), "takes more than 1 s"),
    "r far beyond the tensors": (fields(r=10**4), "rank 10000"),
    "rank_pattern far beyond the tensors": (fields(rank_pattern={"c_attn": 10**4}), "rank 10000"),
    "a million layers": (fields(layer_replication=[[0, 2]] * 500_000), "limit|layer_replication"),
    "layers that are none": (fields(layer_replication=5), "layer_replication 5"),
    "endless pissa": (fields(init_lora_weights="pissa_niter_1000000000"), "99 iterations"),
    "a module to import": (fields(megatron_config={"a": 1}, megatron_core="antigravity"), "megatron_config"),
    "adapters of the hub": (fields(peft_type="XLORA", adapters={"0": "openai-community/gpt2"}), "XLORA"),
    "no weights": (lambda folder: (folder / "adapter_model.safetensors").unlink(), "has neither"),
    **{
        name: WEIGHTS[name]
        for name in (
            "NaN",
            "a .bin that runs code",
            "a .bin that is a plain pickle",
            "a .bin of nested tuples",
            "a .bin with a terabyte out of four bytes",
            "a FIFO",
            "a header of 2^62 bytes",
        )
    },
}


@pytest.mark.parametrize("name", MERGING)
def test_merging_with_a_checkpoint(folder, name, monkeypatch):
    def no_hub(*arguments, **options):
        raise AssertionError("the hub was asked")

    for module in (
        "peft.utils.save_and_load.hf_hub_download",
        "peft.utils.save_and_load.file_exists",
        "peft.config.hf_hub_download",
    ):
        monkeypatch.setattr(module, no_hub)
    plant, expected = MERGING[name]
    plant(folder)
    assert re.search(expected, refusal(merge_into_checkpoint, tiny_model(), folder))


def test_a_merge_that_overflows(folder):
    edit_tensors(
        folder, lambda stored: stored.update({name: torch.full_like(tensor, 1e30) for name, tensor in stored.items()})
    )
    assert "merged weights are NaN or infinite" in refusal(merge_into_checkpoint, tiny_model(), folder)


def test_bin_and_bfloat16_are_still_merged(tmp_path):
    write_adapter(tmp_path / "bin", safe=False)
    write_adapter(tmp_path / "safe")
    with torch.no_grad():
        ids = torch.arange(8)[None]
        logits = [merge_into_checkpoint(tiny_model(), tmp_path / name)(ids).logits.numpy() for name in ("bin", "safe")]
    np.testing.assert_array_equal(*logits)
