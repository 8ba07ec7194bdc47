"""Checkpoints made to crash, hang, mislead or run code, and sound ones that look strange: HOSTILE has them all by name.

`write_hostile(name, folder)` writes one and returns what to open, the argument of `task-bundler build`. Nothing in here
may leave `folder`; what a pickle would do if it were run is to make the folder CODE_RUN in there.
"""

import json
import os
import pickle
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

import torch
from safetensors.torch import load_file, save_file

from tokenizer_tools.vocabulary import BYTE_SYMBOLS

CODE_RUN = "code_was_run"
LAYERS, WIDTH, HEADS, POSITIONS = 2, 12, 3, 24
TOKENS = (*BYTE_SYMBOLS, "he", "hel", "<|endoftext|>")
MERGES = "#version: 0.2\nh e\nhe l\n"
CONFIG = {
    "model_type": "gpt2",
    "n_layer": LAYERS,
    "n_embd": WIDTH,
    "n_head": HEADS,
    "n_positions": POSITIONS,
    "vocab_size": len(TOKENS),
    "bos_token_id": len(TOKENS) - 1,
    "eos_token_id": len(TOKENS) - 1,
}
NANOGPT = {
    "n_layer": LAYERS,
    "n_head": HEADS,
    "n_embd": WIDTH,
    "block_size": POSITIONS,
    "vocab_size": len(TOKENS),
    "bias": True,
}


@dataclass(frozen=True)
class Hostile:
    """`plant` spoils a sound folder; the path it returns, else the folder, is what to open. `expected`: what the
    refusal says, None: it is sound.
    """

    plant: Callable[[Path], object]
    expected: str | None
    # What a build says of one that can be opened: which tokens begin and end a text is asked only there.
    in_a_build: str | None = None


HOSTILE: dict[str, Hostile] = {}


def hostile(name: str, expected: str | None, in_a_build: str | None = None):
    def register(plant):
        assert name not in HOSTILE
        HOSTILE[name] = Hostile(plant, expected, in_a_build)
        return plant

    return register


def sound(name: str):
    return hostile(name, None)


def write_hostile(name: str, folder: Path) -> Path:
    """Write the checkpoint called `name` into `folder`, which must not exist; returns what to open."""
    write_sound(folder)
    planted = HOSTILE[name].plant(folder)
    return planted if isinstance(planted, Path) else folder


def write_sound(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    save_file(tensors(), folder / "model.safetensors")
    (folder / "vocab.json").write_text(json.dumps({token: index for index, token in enumerate(TOKENS)}))
    (folder / "merges.txt").write_text(MERGES)


def tensors(prefix="transformer.") -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = {"wte.weight": (len(TOKENS), WIDTH), "wpe.weight": (POSITIONS, WIDTH)}
    for layer in range(LAYERS):
        for name, shape in (
            ("ln_1", (WIDTH,)),
            ("attn.c_attn", (WIDTH, 3 * WIDTH)),
            ("attn.c_proj", (WIDTH, WIDTH)),
            ("ln_2", (WIDTH,)),
            ("mlp.c_fc", (WIDTH, 4 * WIDTH)),
            ("mlp.c_proj", (4 * WIDTH, WIDTH)),
        ):
            shapes[f"h.{layer}.{name}.weight"], shapes[f"h.{layer}.{name}.bias"] = shape, shape[-1:]
    shapes["ln_f.weight"] = shapes["ln_f.bias"] = (WIDTH,)
    return {prefix + name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


# config.json


def config(name: str, expected: str | None, file: str = "config.json", in_a_build: str | None = None, **fields):
    def plant(folder):
        old = json.loads((folder / file).read_text()) if (folder / file).exists() else {}
        (folder / file).write_text(json.dumps({**old, **fields}))

    hostile(f"{file}: {name}", expected, in_a_build)(plant)


def raw(name: str, content: str | bytes, expected: str | None, file: str = "config.json"):
    data = content if isinstance(content, bytes) else content.encode()
    hostile(f"{file}: {name}", expected)(lambda folder: (folder / file).write_bytes(data))


def without(name: str, expected: str, *files: str):
    hostile(name, expected)(lambda folder: [(folder / file).unlink() for file in files])


def special_files(
    file: str,
    expected: str,
    names=("a FIFO", "a directory", "a symlink to itself", "a symlink to nothing", "an endless device"),
):
    """`file` replaced by what is no file."""
    makers = {
        "a FIFO": os.mkfifo,
        "a directory": os.mkdir,
        "a symlink to itself": lambda path: path.symlink_to(path),
        "a symlink to nothing": lambda path: path.symlink_to("/nowhere/at/all"),
        "an endless device": lambda path: path.symlink_to("/dev/zero"),
    }
    for name in names:

        def plant(folder, make=makers[name]):
            (folder / file).unlink(missing_ok=True)
            make(folder / file)

        hostile(f"{file}: {name}", expected)(plant)


without("config.json: missing", "has no config.json", "config.json")
special_files("config.json", "has no config.json")
raw("empty", "", "not valid JSON")
raw("a list", "[1]", "holds a list")
raw("a number", "1", "holds a number")
raw("NaN", "NaN", "holds a number")
raw("not UTF-8", b'{"model_type": "gpt2\xff"}', "not valid JSON")
raw("UTF-16", json.dumps(CONFIG).encode("utf-16"), "not valid JSON")
raw("a byte-order mark", b"\xef\xbb\xbf" + json.dumps(CONFIG).encode(), "not valid JSON")
raw("NUL bytes", bytes(1000), "not valid JSON")
raw("nested lists", "[" * 100_000, "not valid JSON")
raw("nested objects", '{"a":' * 100_000, "not valid JSON")
raw("nested, but well", '{"model_type": ' + "[" * 500 + "]" * 500 + "}", r"model_type \[\[\[")
raw("5,000 digits", '{"model_type": "gpt2", "n_layer": ' + "9" * 5000 + "}", "not valid JSON")
raw("4,000 digits", '{"model_type": "gpt2", "n_layer": ' + "9" * 4000 + "}", "n_layer is 999")
raw("9 MB", json.dumps(CONFIG) + " " * 9_000_000, "limit")
raw("7 MB of lists", "[" + "[]," * 2_300_000 + "[]]", "holds a list")
raw(
    "a key twice", json.dumps(CONFIG).replace('"n_layer"', '"n_layer": 7, "n_layer"'), None
)  # the last counts, as for transformers
raw("another model type of a megabyte", json.dumps({"model_type": "x\n" * 500_000}), "model_type 'x")
config("no model type", "no model_type", model_type=None)
config("a list for a model type", r"model_type \['gpt2'\]", model_type=["gpt2"])
for field in ("n_layer", "n_embd", "n_head", "n_positions", "vocab_size", "n_inner"):
    for value in (0, -1, True, "12", [12], {}, 2.5, float("nan"), 10**18):
        config(f"{field} {value}", f"{field} is ", **{field: value})
config("a billion layers", "config says 1000000000 layers", n_layer=10**9)
config("a billion positions", "wpe.weight has the shape", n_positions=10**9)
config("a billion tokens", "wte.weight has the shape", vocab_size=10**9)
config("one layer fewer", "holds 12 tensors", n_layer=1)
config("one layer more", "lacks 12 tensors", n_layer=3)
config("heads that do not divide", "not divisible", n_head=5)
config("a head for every element", None, n_head=12)
for value in (float("nan"), float("inf"), 0, -1e-5, "1e-5", None, True, 10**400):
    config(f"epsilon {str(value)[:12]}", "layer_norm_epsilon is ", layer_norm_epsilon=value)
config("an unknown activation", "activation_function is 'mish'", activation_function="mish")
config("an activation of a megabyte", "activation_function is 'aaa", activation_function="a" * 1_000_000)
config("an activation that is a list", "activation_function is ", activation_function=["gelu"])
config("Python code", "auto_map", auto_map={"AutoModel": "evil--code.Model"})
config("a quantization that is a number", "already quantized", quantization_config=3)
config("tied as a string", "tie_word_embeddings is 'true'", tie_word_embeddings="true")
config("a start token that is a list", "cannot load its tokenizer", bos_token_id=[258])
config("a start token that is a word", "bos_token_id is 'x'", bos_token_id="x")
config("a start token far away", None, bos_token_id=2**70, in_a_build="bos_token_id is 118")
config("a million stop tokens", None, eos_token_id=list(range(1_000_000)), in_a_build="eos_token_id is 0, the bytes")

config("a stop token that is a float", "eos_token_id is 1.5", "generation_config.json", eos_token_id=1.5)
config("stop tokens of a megabyte", "eos_token_id is 'xxx", "generation_config.json", eos_token_id=["x" * 1_000_000])
config("a stop token that is an object", "eos_token_id is ", "generation_config.json", eos_token_id={"id": 1})
config("a negative stop token", None, "generation_config.json", eos_token_id=-1, in_a_build="eos_token_id is -1")
raw("a list", "[]", "holds a list", "generation_config.json")
raw("cut short", '{"eos', "not valid JSON", "generation_config.json")
raw("5,000 digits", '{"eos_token_id": ' + "9" * 5000 + "}", "not valid JSON", "generation_config.json")


# model.safetensors


def safetensors(name: str, expected: str | None):
    """For a function that changes the tensors, or returns the file's bytes."""

    def register(change):
        def plant(folder):
            path = folder / "model.safetensors"
            stored = {key: tensor.clone() for key, tensor in load_file(path).items()}
            data = change(stored)
            path.write_bytes(data) if isinstance(data, bytes) else save_file(stored, path)

        hostile(f"model.safetensors: {name}", expected)(plant)
        return change

    return register


def framed(header, data=b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def of_one(dtype="F32", shape=(2,), offsets=(0, 8), size=8, **more) -> bytes:
    return framed({"a": {"dtype": dtype, "shape": shape, "data_offsets": offsets}, **more}, bytes(size))


for kept in (0, 1, 7, 8, 9, 100, 2000, 20_000, -1):
    hostile(f"model.safetensors: cut after {kept}", "not a complete safetensors")(
        lambda folder, kept=kept: (folder / "model.safetensors").write_bytes(
            (folder / "model.safetensors").read_bytes()[:kept]
        )
    )

DAMAGED = "not a complete safetensors"
for case, content, says in (
    ("a header of 2^62 bytes", struct.pack("<Q", 2**62) + b"{}", DAMAGED),
    ("a header of 2^64 - 1 bytes", b"\xff" * 8 + b"{}", DAMAGED),
    ("a header one byte too long", struct.pack("<Q", 3) + b"{}", DAMAGED),
    ("a header that is a list", framed([]), DAMAGED),
    ("a header of nested lists", framed(b'{"a":' + b"[" * 1_000_000), DAMAGED),
    ("a header that is not UTF-8", framed(b'{"\xff": 1}'), DAMAGED),
    ("a header of 9 MB", framed(b"{}" + b" " * 9_000_000), "has a header of more than"),
    (
        "a header with 70,000 tensors",
        framed({f"t{n}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for n in range(70_000)}),
        "70000 tensors",
    ),
    ("no tensors", framed({}), "hold 0 tensors"),
    ("metadata alone", framed({"__metadata__": {"format": "pt"}}), "hold 0 tensors"),
    ("metadata of numbers", framed({"__metadata__": {"format": 1}}), DAMAGED),
    ("data before its header", of_one(offsets=(-8, 0)), DAMAGED),
    ("data backwards", of_one(offsets=(8, 0)), DAMAGED),
    ("data beyond the end", of_one(offsets=(0, 8), size=4), DAMAGED),
    ("data that nothing names", of_one(size=12), DAMAGED),
    ("data shared", of_one(b={"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}), DAMAGED),
    ("data overlapping", of_one(size=12, b={"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}), DAMAGED),
    ("data with a hole", of_one(size=24, b={"dtype": "F32", "shape": [2], "data_offsets": [16, 24]}), DAMAGED),
    ("data smaller than the shape", of_one(shape=(3,)), DAMAGED),
    ("a shape that overflows", of_one(shape=(2**40, 2**40)), DAMAGED),
    ("a negative shape", of_one(shape=(-2,)), DAMAGED),
    ("a type that is none", of_one(dtype="F31"), DAMAGED),
    (
        "a name twice",
        framed(
            b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}',
            bytes(8),
        ),
        DAMAGED + "|names that no GPT-2 has",
    ),
    (
        "names of a megabyte",
        framed({"a" * 1_000_000: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, bytes(4)),
        "200 characters",
    ),
    (
        "a name that clears the screen",
        framed({"\x1b[2J\r\n": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, bytes(4)),
        "printable",
    ),
    ("a Git LFS pointer", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n", "Git LFS"),
    ("HTML", b"<!DOCTYPE html><html>Not found</html>", DAMAGED),
    ("random bytes", bytes(range(256)) * 40, DAMAGED),
    ("a pickle", pickle.dumps({"a": 1}), DAMAGED),
):
    safetensors(case, says)(lambda stored, content=content: content)

safetensors("NaN", "NaN or infinite")(lambda stored: stored["transformer.wte.weight"][3].fill_(float("nan")))
safetensors("infinity", "NaN or infinite")(lambda stored: stored["transformer.ln_f.bias"][3].fill_(float("inf")))
safetensors("beyond float32", "NaN or infinite")(
    lambda stored: stored.update({"transformer.ln_f.bias": torch.full((WIDTH,), 1e300, dtype=torch.float64)})
)
safetensors("a tensor missing", "lacks 1 tensor")(lambda stored: stored.pop("transformer.h.1.mlp.c_fc.bias"))
safetensors("every other tensor missing", r"lacks 14 tensors \(.*, …\)")(
    lambda stored: [stored.pop(name) for name in list(stored)[::2]]
)
safetensors("a tensor more", "holds 1 tensor")(lambda stored: stored.update({"score.weight": torch.ones(2, WIDTH)}))
safetensors("1,000 tensors more", "holds 1000 tensors")(
    lambda stored: stored.update({f"extra.{n}": torch.ones(1) for n in range(1000)})
)
safetensors("a matrix transposed", "c_attn.weight has the shape")(
    lambda stored: stored.update({"transformer.h.0.attn.c_attn.weight": torch.ones(3 * WIDTH, WIDTH)})
)
safetensors("a scalar", "ln_f.bias has the shape")(
    lambda stored: stored.update({"transformer.ln_f.bias": torch.tensor(1.0)})
)
safetensors("an empty tensor", "ln_f.bias has the shape")(
    lambda stored: stored.update({"transformer.ln_f.bias": torch.ones(0)})
)
safetensors("integers", "as I64")(
    lambda stored: stored.update({"transformer.ln_f.bias": torch.ones(WIDTH, dtype=torch.int64)})
)
safetensors("booleans", "as BOOL")(
    lambda stored: stored.update({"transformer.ln_f.bias": torch.ones(WIDTH, dtype=torch.bool)})
)
safetensors("8-bit floats", "as F8_E4M3")(
    lambda stored: stored.update({"transformer.ln_f.bias": torch.ones(WIDTH).to(torch.float8_e4m3fn)})
)
safetensors("bfloat16", None)(
    lambda stored: stored.update({name: tensor.bfloat16() for name, tensor in stored.items()})
)
safetensors("a name with and without prefix", "twice")(
    lambda stored: stored.update({"wte.weight": stored["transformer.wte.weight"].clone()})
)
safetensors("another model", "names that no GPT-2 has.*save_pretrained")(
    lambda stored: (
        stored.clear(),
        stored.update({f"layers.{n}.weight": torch.ones(2) for n in range(28)}),
        stored.update(embed=torch.ones(1)),
    )[0]
)
safetensors("a prefix of its own", r"begin with 'student\.transformer\.'.*removeprefix\('student\.transformer\.'\)")(
    lambda stored: [stored.update({f"student.{name}": stored.pop(name)}) for name in list(stored)]
)
for prefix in ("module.", "_orig_mod.", "model.", "module._orig_mod.", "model._orig_mod.transformer."):

    def rename(stored, prefix=prefix):
        for name in list(stored):
            stored[prefix + name.removeprefix("transformer.")] = stored.pop(name)

    safetensors(f"the prefix {prefix}", None)(rename)
special_files("model.safetensors", "has no weights")


@sound("model.safetensors: a symlink to the file elsewhere")
def _(folder):
    (folder / "model.safetensors").rename(folder / "blob")
    (folder / "model.safetensors").symlink_to("blob")


@hostile("model.safetensors: a terabyte of nothing", DAMAGED)
def _(folder):
    os.truncate(folder / "model.safetensors", 1 << 40)


@hostile("model.safetensors: not to be read", "cannot be read|not a complete")
def _(folder):
    (folder / "model.safetensors").chmod(0)


@hostile("model.safetensors: an adapter's folder", "LoRA adapter")
def _(folder):
    (folder / "adapter_config.json").write_text("{")


# shards


def shards(name: str, expected: str | None, plant_more=None, **weights):
    """The weights in shard.safetensors; `weights`: entries of the index that are others, None for no weight_map."""

    def plant(folder):
        names = list(load_file(folder / "model.safetensors"))
        (folder / "model.safetensors").rename(folder / "shard.safetensors")
        weight_map = {key: "shard.safetensors" for key in names}
        (folder / "model.safetensors.index.json").write_text(
            json.dumps({"weight_map": weights.get("all", {**weight_map, **weights})})
        )
        if plant_more:
            plant_more(folder)

    hostile(f"shards: {name}", expected)(plant)


HEAD = "transformer.wte.weight"
shards("sound", None)
for value in (None, [], "x", 5, {}, {HEAD: 1}, {HEAD: None}, {HEAD: ["shard.safetensors"]}):
    shards(f"weight_map {value}", "has no weight_map", all=value)
for file, says in (
    ("../shard.safetensors", "names the shard"),
    ("/etc/passwd", "names the shard"),
    ("/etc/x.safetensors", "names the shard"),
    ("..", "names the shard"),
    ("", "names the shard"),
    ("a\\b.safetensors", "names the shard"),
    ("shard.bin", "names the shard"),
    ("gone.safetensors", "is missing"),
    ("x" * 5000 + ".safetensors", "names the shard"),
    ("nul\0.safetensors", "names the shard"),
    (".safetensors", "is missing"),
):
    shards(f"the file {file[:30]!r}", says, **{HEAD: file})
shards("a tensor it does not hold", "does not hold", extra="shard.safetensors")
shards("a name of a megabyte", "200 characters", **{"x" * 1_000_000: "shard.safetensors"})
shards("100,000 files", "is missing", all={f"t{n}": f"{n}.safetensors" for n in range(100_000)})
for case, maker in (
    ("a FIFO", os.mkfifo),
    ("a directory", os.mkdir),
    ("a symlink to itself", lambda path: path.symlink_to(path)),
):
    shards(
        f"a shard that is {case}",
        "is missing",
        lambda folder, maker=maker: maker(folder / "b.safetensors"),
        **{HEAD: "b.safetensors"},
    )
shards(
    "a shard that is /etc/passwd",
    DAMAGED,
    lambda folder: (folder / "b.safetensors").symlink_to("/etc/passwd"),
    **{HEAD: "b.safetensors"},
)


# pytorch_model.bin


class Evil:
    """Its pickle makes the folder CODE_RUN."""

    def __init__(self, folder):
        self.mark = str(folder / CODE_RUN)

    def __reduce__(self):
        return os.mkdir, (self.mark,)


def saved(name: str, expected: str | None, file: str = "pytorch_model.bin", **options):
    """For a function from (folder, tensors) to what torch.save writes, or to the file's bytes."""

    def register(make):
        def plant(folder):
            stored = {key: tensor.clone() for key, tensor in load_file(folder / "model.safetensors").items()}
            (folder / "model.safetensors").unlink()
            value = make(folder, stored)
            path = folder / file
            path.write_bytes(value) if isinstance(value, bytes) else torch.save(value, path, **options)
            if file == "ckpt.pt":
                (folder / "config.json").unlink()
                return path

        hostile(f"{file}: {name}", expected)(plant)
        return make

    return register


def change(**tensors_):
    return lambda folder, stored: {**stored, **{HEAD: tensor for tensor in tensors_.values()}}


def rezipped(folder, value, instructions=None, compression=zipfile.ZIP_STORED, cut=None) -> bytes:
    """torch.save's archive of `value`, written again; `instructions` in the place of its pickle."""
    path = folder / "rezipped"
    torch.save(value, path)
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in entries.items():
            archive.writestr(name, instructions if instructions is not None and name.endswith("data.pkl") else data)
    data = path.read_bytes()
    path.unlink()
    return data[:cut]


CODE = "without running code"
BAD = "is damaged or not written by torch.save"
saved("sound", None)(lambda folder, stored: stored)
saved("sound, from before 1.6", None, _use_new_zipfile_serialization=False)(lambda folder, stored: stored)
saved("code", CODE)(lambda folder, stored: {**stored, "x": Evil(folder)})
saved("code, from before 1.6", CODE, _use_new_zipfile_serialization=False)(
    lambda folder, stored: {**stored, "x": Evil(folder)}
)
saved("code, pickled plainly", CODE)(lambda folder, stored: pickle.dumps(Evil(folder)))
saved("code, in protocol 0", CODE)(lambda folder, stored: pickle.dumps(Evil(folder), 0))
saved("code, in protocol 4 in an archive", CODE)(
    lambda folder, stored: rezipped(folder, {}, pickle.dumps(Evil(folder), 4))
)
saved("code, in a tar", BAD)(lambda folder, stored: b"pickle" + bytes(94) + b"0000644\0" + bytes(400))
saved("empty", BAD)(lambda folder, stored: b"")
saved("text", BAD)(lambda folder, stored: b"hello")
saved("no archive after all", BAD)(lambda folder, stored: b"PK\x03\x04" + bytes(100))
for kept in (10, 300, 5000, -1, -30):
    saved(f"cut after {kept}", BAD)(lambda folder, stored, kept=kept: rezipped(folder, stored, cut=kept))
saved("compressed", "is compressed")(
    lambda folder, stored: rezipped(
        folder, {**stored, "zeros": torch.zeros(20_000_000)}, compression=zipfile.ZIP_DEFLATED
    )
)
saved("a pickle of 200 MB, compressed", "is compressed")(
    lambda folder, stored: rezipped(folder, {}, b"\x80\x02]" + b"0" * 200_000_000, compression=zipfile.ZIP_DEFLATED)
)
saved("a pickle of 3 MB", "limit")(lambda folder, stored: rezipped(folder, {}, b"\x80\x02" + b"]" * 3_000_000 + b"."))
saved("tuples nested deep", "nests tuples")(
    lambda folder, stored: rezipped(folder, {}, b"\x80\x02})" + b"\x85" * 1_000_000 + b"K\x01s.")
)
saved("tuples shared", "nests tuples")(
    lambda folder, stored: rezipped(
        folder, {}, b"\x80\x02})" + b"".join(b"q%ch%c\x86" % (n, n) for n in range(60)) + b"K\x01s."
    )
)
saved("lists nested deep", "does not hold named tensors")(
    lambda folder, stored: rezipped(folder, {}, b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".")
)
saved("2 GB asked for", CODE)(
    lambda folder, stored: rezipped(folder, {}, b"\x80\x02cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R.")
)
saved("an empty stack", BAD)(lambda folder, stored: rezipped(folder, {}, b"\x80\x02."))
saved("a storage that is not there", BAD)(
    lambda folder, stored: rezipped(
        folder,
        {},
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000"
        b"X\x03\x00\x00\x00cpuK\x02tQK\x00K\x02\x85K\x01\x85\x89ccollections\nOrderedDict\n)RtR.",
    )
)
saved("a terabyte out of four bytes", "has the shape|over a storage of 4 bytes")(
    change(a=torch.ones(1).expand(2**19, 2**19))
)
saved("the right shape out of four bytes", "over a storage of 4 bytes")(
    change(a=torch.ones(1).expand(len(TOKENS), WIDTH))
)
saved("a meta tensor", f"{CODE}|{BAD}")(change(a=torch.ones(len(TOKENS), WIDTH, device="meta")))
saved("a sparse tensor", "sparse")(change(a=torch.eye(len(TOKENS), WIDTH).to_sparse()))
saved("a quantized tensor", "quint8|qint8")(
    change(a=torch.quantize_per_tensor(torch.ones(len(TOKENS), WIDTH), 0.1, 0, torch.qint8))
)
saved("complex numbers", "complex64")(change(a=torch.ones(len(TOKENS), WIDTH, dtype=torch.complex64)))
saved("transposed in memory", None)(change(a=torch.ones(WIDTH, len(TOKENS)).t()))
saved("a parameter", None)(change(a=torch.nn.Parameter(torch.ones(len(TOKENS), WIDTH))))
saved("a list", "does not hold named tensors")(lambda folder, stored: list(stored.values()))
saved("a tensor", "does not hold named tensors")(lambda folder, stored: torch.ones(2))
saved("numbers for names", "does not hold named tensors")(
    lambda folder, stored: {index: tensor for index, tensor in enumerate(stored.values())}
)
saved("numbers for tensors", "does not hold named tensors")(lambda folder, stored: dict.fromkeys(stored, 1.0))
saved("nothing", "does not hold named tensors")(lambda folder, stored: {})
saved("a name that clears the screen", "printable")(lambda folder, stored: {**stored, "\x1b[2J\n": torch.ones(1)})
special_files("pytorch_model.bin", DAMAGED, ())


# ckpt.pt


def checkpoint(stored, **changes):
    state = {
        name: (tensor.T.contiguous() if name.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight")) else tensor)
        for name, tensor in stored.items()
    }
    return {"model": {**state, "lm_head.weight": state[HEAD]}, "model_args": dict(NANOGPT), **changes}


def nanogpt(name: str, expected: str | None, **changes):
    saved(name, expected, "ckpt.pt")(lambda folder, stored: checkpoint(stored, **changes))


nanogpt("sound", None)
for field in NANOGPT:
    for value in (5, "yes", None) if field == "bias" else (0, -1, True, "2", 2.5, [2], 10**30, torch.ones(3)):
        nanogpt(f"{field} {str(value)[:20]}", f"{field} |n_positions ", model_args={**NANOGPT, field: value})
nanogpt(
    "no block_size",
    "lacks block_size",
    model_args={key: value for key, value in NANOGPT.items() if key != "block_size"},
)
nanogpt("1,000 more arguments", "and 995 more", model_args={**NANOGPT, **{f"option_{n}\n": n for n in range(1000)}})
nanogpt("arguments that are a list", "is not nanoGPT's", model_args=[1])
nanogpt("a billion layers", "config says 1000000000 layers", model_args={**NANOGPT, "n_layer": 10**9})
nanogpt("no tensors", "hold 0 tensors", model={})
nanogpt("tensors that are words", "is not nanoGPT's", model={"transformer.wte.weight": "x"})
saved("code", CODE, "ckpt.pt")(lambda folder, stored: checkpoint(stored, config=Evil(folder)))
saved("another trainer's", r"holds a dict with 'epoch', 'global_step', 'state_dict'.*save_pretrained", "ckpt.pt")(
    lambda folder, stored: {"epoch": 3, "global_step": 100, "state_dict": stored}
)
saved("tensors alone", r"holds tensors alone \(.* and 23 more\)", "ckpt.pt")(lambda folder, stored: stored)
saved("a list", "holds a list", "ckpt.pt")(lambda folder, stored: [1])
saved("empty", BAD, "ckpt.pt")(lambda folder, stored: b"")


@hostile("ckpt.pt: a FIFO", "neither a file nor a folder")
def _(folder):
    os.mkfifo(folder / "ckpt.pt")
    return folder / "ckpt.pt"


@hostile("ckpt.pt: an endless device", "neither a file nor a folder")
def _(folder):
    (folder / "ckpt.pt").symlink_to("/dev/zero")
    return folder / "ckpt.pt"


@hostile("ckpt.pt: a symlink to itself", "does not exist")
def _(folder):
    (folder / "ckpt.pt").symlink_to(folder / "ckpt.pt")
    return folder / "ckpt.pt"


# vocabularies


def vocabulary(name: str, expected: str | None, merges: str | None = None, size: int | None = None):
    """For a function that changes the ids, or returns others; `size`: tokens the embedding has rows for."""

    def register(change_ids=lambda ids: None):
        def plant(folder):
            ids = {token: index for index, token in enumerate(TOKENS)}
            ids = change_ids(ids) or ids
            (folder / "vocab.json").write_text(json.dumps(ids))
            if merges is not None:
                (folder / "merges.txt").write_text(merges)
            if size:
                resize(folder, size)

        hostile(f"vocabulary: {name}", expected)(plant)
        return change_ids

    return register


def resize(folder, size):
    config_ = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config_, "vocab_size": size}))
    stored = load_file(folder / "model.safetensors")
    save_file({**stored, HEAD: torch.ones(size, WIDTH)}, folder / "model.safetensors")


def chain(letters: str, depth: int):
    """aa, aaa, aaaa … and the merge of each."""
    tokens = [letters * count for count in range(2, depth + 1)]
    return tokens, MERGES + "".join(f"{token[:-1]} {token[-1]}\n" for token in tokens)


def deep(depth):
    tokens, merges = chain("a", depth)
    return vocabulary(f"merges {depth:,} deep", "limit" if depth > 256 else None, merges, len(TOKENS) + depth)(
        lambda ids: {**ids, **{token: len(TOKENS) + index for index, token in enumerate(tokens)}}
    )


deep(100)
deep(7000)
vocabulary("a token of a megabyte", "limit")(lambda ids: ids.update({"a" * 1_000_000: len(ids)}))
vocabulary("a special token of a megabyte", "limit")(lambda ids: ids.update({"<" + "a" * 1_000_000 + ">": len(ids)}))
vocabulary("a million tokens", "limit")(lambda ids: ids.update({f"<{n}>": len(ids) + n for n in range(1_000_000)}))
vocabulary("a hole in the ids", "no token has id")(lambda ids: ids.update({"<x>": 1000}))
vocabulary("an id beyond 2^31", "no token has id")(lambda ids: ids.update({"<x>": 2**40}))
vocabulary("an id of 4,000 digits", "no token has id|limit")(lambda ids: ids.update({"<x>": 10**3999}))
vocabulary("an id twice", "belongs to both")(lambda ids: ids.update({"<x>": 3}))
vocabulary("an id that is a list", "has id ")(lambda ids: ids.update({"<x>": [1] * 100_000}))
vocabulary("an id that is true", "has id True")(lambda ids: ids.update({"<x>": True}))
vocabulary("an empty token", "empty token")(lambda ids: ids.update({"": len(ids)}))
vocabulary("a byte missing", "no token for 1 of the 256 bytes")(
    lambda ids: {("<x>" if token == "A" else token): index for token, index in ids.items()}
)
vocabulary("a token more than rows", "has 260 tokens, as transformers reads it, but the embedding")(
    lambda ids: ids.update({"<x>": len(ids)})
)
vocabulary("a token without its merge", "no merge makes 1 of the tokens", size=260)(
    lambda ids: ids.update({"hello": len(ids)})
)
vocabulary("tokens without merges", "holds no merges", "#version: 0.2\n")(lambda ids: None)
vocabulary("a merge of a missing token", "names 'xy'", MERGES + "x y\n")()
vocabulary("a merge of a megabyte", "limit|names", MERGES + "x" * 1_000_000 + " y\n")()
vocabulary("a merge into itself", "names", MERGES + "hel hel\n")()
vocabulary("a merge twice", "twice", MERGES + "h e\n")()
vocabulary("a line of a megabyte", "line 4", MERGES + "x" * 1_000_000 + "\n")()
vocabulary("a token two merges make", None, "#version: 0.2\nh e\nhe l\ne l\nh el\n", 260)(
    lambda ids: {**ids, "el": 259}
)
raw("a list", "[]", "expected one object", "vocab.json")
raw("empty", "", "not JSON", "vocab.json")
raw("a key twice", '{"a": 0, "a": 1}', "twice", "vocab.json")
raw("5,000 digits", '{"a": ' + "9" * 5000 + "}", "not JSON", "vocab.json")
raw("nested", "[" * 100_000, "not JSON|nested", "vocab.json")
raw("not UTF-8", b"\xff\xfe", "not UTF-8", "vocab.json")
raw("not UTF-8", b"\xff\xfe", "not UTF-8", "merges.txt")
special_files("vocab.json", "has no vocabulary", ("a FIFO", "a directory", "a symlink to itself"))
special_files("merges.txt", "has no vocabulary", ("a FIFO", "a directory", "an endless device"))
without("vocabulary: no merges.txt", "merges.txt is missing", "merges.txt")
without("vocabulary: none", "has no vocabulary", "vocab.json", "merges.txt")


@hostile("vocabulary: a file of 200 MB", "MB")
def _(folder):
    os.truncate(folder / "vocab.json", 200_000_000)


for file, kind in (
    ("spiece.model", "is a SentencePiece model, and cannot be bundled"),
    ("tokenizer.model", "is a SentencePiece model, and cannot be bundled"),
    ("vocab.txt", "is there, .*WordPiece"),
):

    @hostile(f"vocabulary: only {file}", f"{file} {kind}")
    def _(folder, file=file):
        (folder / "vocab.json").unlink()
        (folder / "merges.txt").unlink()
        (folder / file).write_bytes(b"x")


@hostile("vocabulary: a character vocabulary that runs code", "character vocabulary")
def _(folder):
    (folder / "vocab.json").unlink()
    (folder / "merges.txt").unlink()
    (folder / "meta.pkl").write_bytes(pickle.dumps(Evil(folder)))


BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}


def tokenizer(name: str, expected: str | None, **changes):
    """A sound tokenizer.json in which these entries are others; those called model_… are the model's."""

    def plant(folder):
        model = {
            "type": "BPE",
            "vocab": {token: index for index, token in enumerate(TOKENS[:-1])},
            "merges": [["h", "e"], ["he", "l"]],
            **{key.removeprefix("model_"): value for key, value in changes.items() if key.startswith("model_")},
        }
        document = {
            "added_tokens": [
                {
                    "id": len(TOKENS) - 1,
                    "content": TOKENS[-1],
                    "special": True,
                    "single_word": False,
                    "lstrip": False,
                    "rstrip": False,
                    "normalized": False,
                }
            ],
            "normalizer": None,
            "pre_tokenizer": BYTE_LEVEL,
            "post_processor": None,
            "model": model,
            "decoder": BYTE_LEVEL,
        }
        document |= {key: value for key, value in changes.items() if not key.startswith("model_")}
        (folder / "tokenizer.json").write_text(json.dumps(document))

    hostile(f"tokenizer.json: {name}", expected)(plant)


def split(pattern):
    return {
        "type": "Sequence",
        "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False},
            {**BYTE_LEVEL, "use_regex": False},
        ],
    }


tokenizer("sound", None)
tokenizer("a regex without end", "regex", pre_tokenizer=split(r"(\p{L}+)+\d|(.*.*.*)*x"))
tokenizer("a regex of a megabyte", "regex", pre_tokenizer=split("a" * 1_000_000))
tokenizer("a regex that is none", "regex", pre_tokenizer=split("(["))
tokenizer(
    "a normalizer's regex without end",
    "regex",
    normalizer={"type": "Replace", "pattern": {"Regex": "(a+)+$"}, "content": ""},
)
tokenizer(
    "a regex deep inside",
    "regex",
    normalizer={"type": "Sequence", "normalizers": [{"type": "Replace", "pattern": {"Regex": "(a+)+$"}}]},
)
for key in ("pre_tokenizer", "normalizer", "post_processor"):
    for value in (
        5,
        "ByteLevel",
        [],
        [BYTE_LEVEL],
        {"type": "Sequence", "pretokenizers": 5},
        {"type": ["x"]},
        {"type": "Sequence", "normalizers": [5]},
    ):
        if not (key == "post_processor" and isinstance(value, dict) and value["type"] == "Sequence"):
            tokenizer(f"{key} {value}", "" if isinstance(value, dict) else key.replace("_", "[-_ ]"), **{key: value})
tokenizer("a split of nothing", "", pre_tokenizer={"type": "Split", "pattern": 5})
tokenizer(
    "steps nested deep",
    "cannot load its tokenizer.*recursion limit",
    pre_tokenizer=json.loads('{"type": "Sequence", "pretokenizers": [' * 200 + "]}" * 200),
)
tokenizer(
    "padding to a billion",
    None,
    padding={"strategy": {"Fixed": 10**9}, "direction": "Right", "pad_id": 0, "pad_type_id": 0, "pad_token": "x"},
)
tokenizer(
    "truncation to nothing",
    None,
    truncation={"direction": "Right", "max_length": 0, "strategy": "LongestFirst", "stride": 0},
)
tokenizer("Unigram", "expected BPE", model_type="Unigram")
tokenizer("a type of a megabyte", "expected BPE", model_type="x" * 1_000_000)
tokenizer("no vocabulary", "must be an object", model_vocab=None)
tokenizer("merges that are an object", "must be an object", model_merges={})
tokenizer("a merge of three", r"merges\[0\]", model_merges=[["h", "e", "l"]])
tokenizer("a merge with nothing", "names ''", model_merges=[["h", ""]])
tokenizer("a merge of a megabyte", "limit|merges|names", model_merges=[["h" * 1_000_000, "e"]])
tokenizer("a merge that is an object of a megabyte", r"merges\[0\]", model_merges=[{"x": "y" * 1_000_000}])
tokenizer("added tokens that are a number", "added_tokens", added_tokens=5)
tokenizer("added tokens that are an object", "added_tokens", added_tokens={"content": "x"})
tokenizer("an added token without content", "added_tokens", added_tokens=[{"id": 1}])
tokenizer("an added token without id", "has id None", added_tokens=[{"content": "<x>"}])
tokenizer("an added token of another id", "has id 7", added_tokens=[{"content": "he", "id": 7}])
tokenizer("an added token of a megabyte", "limit", added_tokens=[{"content": "x" * 1_000_000, "id": 258}])
tokenizer("an added token's id a list", "has id", added_tokens=[{"content": "<x>", "id": [1] * 100_000}])
raw("a list", "[]", 'no "model" object', "tokenizer.json")
raw("empty", "", "not JSON", "tokenizer.json")
raw("5,000 digits", '{"model": ' + "9" * 5000 + "}", "not JSON", "tokenizer.json")
raw("20 MB of lists", '{"x": [' + "[]," * 7_000_000 + '[]], "model": 5}', 'no "model" object', "tokenizer.json")
special_files(
    "tokenizer.json", None, ("a FIFO", "a directory", "a symlink to itself")
)  # vocab.json and merges.txt are there
raw("a list", "[]", "holds a list", "added_tokens.json")
raw("an id that is a word", '{"<x>": "y"}', "has id 'y'; expected a number", "added_tokens.json")
raw("tokens in a list", '{"added_tokens_decoder": [1]}', "expected an object from id to token", "tokenizer_config.json")
raw("a token without text", '{"added_tokens_decoder": {"1": 2}}', 'has no "content"', "tokenizer_config.json")
raw(
    "an id of a megabyte",
    json.dumps({"added_tokens_decoder": {"9" * 10**6: {"content": "x"}}}),
    "expected a number",
    "tokenizer_config.json",
)
