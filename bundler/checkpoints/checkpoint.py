"""A GPT-2 checkpoint, opened lazily: from a Hugging Face folder, the hub, or nanoGPT's ckpt.pt."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from bundler.checkpoints.hub import download
from bundler.checkpoints.hub_id import BUNDLE_SUFFIXES, HubAccess, split_hub_id
from bundler.checkpoints.stored_model import StoredModel
from bundler.checkpoints.tensor_names import ROWS_AT_ONCE, canonical_tensors
from bundler.errors import BundleError, OptionError
from tokenizer_tools.auto_tokenizer import OTHER_PIECES_FILES, PIECES_FILE, TOKENIZER_FILES

if TYPE_CHECKING:  # transformers takes seconds to import, and most commands do without the reference model
    from transformers import GPT2Config, GPT2LMHeadModel

# The modules that read a checkpoint, each a format with `EXPECTED`, what to give for it, `recognize(path)` and
# `read(path)`. The first that recognizes what lies at a path reads it.
FORMATS = tuple(import_module(f"bundler.checkpoints.{name}") for name in ("nanogpt", "hugging_face"))


@dataclass(frozen=True)
class Source:
    """Where a checkpoint came from. `kind`: folder, hub or nanogpt; `revision`: the hub's commit.

    `files` are all files that decide the result: config, weights, vocabulary.
    """

    kind: str
    name: str
    path: Path
    revision: str | None
    files: tuple[Path, ...]

    def hashes(self) -> dict[str, str]:
        """Each file's name and its SHA-256, reading every byte."""
        digests = {}
        for path in self.files:
            with open(path, "rb") as file:
                digests[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
        return digests


class Checkpoint:
    """A GPT-2's architecture and named weights; see `open_checkpoint`.

    Names are canonical: wte.weight [V, D], wpe.weight [P, D], h.{i}.ln_1, h.{i}.attn.c_attn [D, 3D],
    h.{i}.attn.c_proj [D, D], h.{i}.ln_2, h.{i}.mlp.c_fc [D, inner], h.{i}.mlp.c_proj [inner, D] and ln_f, each
    .weight and .bias, and lm_head.weight [V, D] only if it is not tied. Matrices are [in, out].
    """

    def __init__(self, model: StoredModel, source: Source, vocabulary: Path) -> None:
        canonical = canonical_tensors(model.tensors, model.architecture, model.path)
        self.architecture, self._stored = canonical.architecture, canonical.tensors
        self.source = source
        self.special = model.special
        self._vocabulary = vocabulary

    @property
    def folder(self) -> Path:
        """The folder of vocab.json and merges.txt, or tokenizer.json. Raises BundleError when it has neither."""
        return _with_vocabulary(self._vocabulary)

    def names(self) -> list[str]:
        """The canonical tensor names, in the model's order."""
        return list(self._stored)

    @property
    def head(self) -> str:
        """The name of the weight that makes logits of hidden states."""
        return "wte.weight" if self.architecture.tied_head else "lm_head.weight"

    def tensor(self, name: str) -> torch.Tensor:
        """One weight in float32, in memory of its own; nothing else is read. Raises KeyError on an unknown name."""
        return self.part(name, slice(None))

    def part(self, name: str, index: Any) -> torch.Tensor:
        """What `index` picks of one weight, as `tensor[index]` would, in float32 and memory of its own."""
        return self._stored[name].read()[index].to(torch.float32, copy=True).contiguous()

    def view(self, name: str, index: Any = slice(None)) -> torch.Tensor:
        """One weight, or what `index` picks of it, in float32; still in its file's map if it is stored so: not to be
        written to.
        """
        return self._stored[name].read()[index].to(torch.float32).contiguous()

    def check_finite(self) -> None:
        """Read all weights, one tensor at a time. Raises BundleError naming the first with NaN or infinite values."""
        for name in self.names():
            tensor = self._stored[name].read()
            # In blocks of rows, because isfinite makes temporaries as large as what it is given.
            wrong = sum(int((~block.float().isfinite()).sum()) for block in tensor.split(ROWS_AT_ONCE))
            if wrong:
                raise BundleError(
                    f"{name} in {self._stored[name].file} has {wrong} NaN or infinite values out of "
                    f"{tensor.numel()} (as float32): training diverged or the file is damaged. "
                    "Give an earlier checkpoint"
                )

    def check_vocabulary(self, size: int) -> None:
        """Raise BundleError if a vocabulary of `size` tokens has ids the embedding has no row for."""
        rows = self.architecture.vocabulary
        if size > rows:
            raise BundleError(
                f"the vocabulary in {self._vocabulary} has {size} tokens, as transformers reads it, but the embedding "
                f"of {self.source.name} has {rows} rows; give the vocabulary the model was trained with"
            )

    def reference_config(self) -> GPT2Config:
        """transformers' config of the same computation; eager attention, no dropout."""
        from transformers import GPT2Config

        shape = self.architecture
        return GPT2Config(
            vocab_size=shape.vocabulary,
            n_positions=shape.positions,
            n_embd=shape.width,
            n_layer=shape.layers,
            n_head=shape.heads,
            n_inner=shape.inner,
            activation_function=shape.activation,
            layer_norm_epsilon=shape.layer_norm_epsilon,
            scale_attn_weights=shape.scale_attention,
            scale_attn_by_inverse_layer_idx=shape.scale_by_inverse_layer,
            tie_word_embeddings=shape.tied_head,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            bos_token_id=self.special.bos,
            eos_token_id=list(self.special.eos) or None,
            dtype="float32",
            attn_implementation="eager",
        )

    def empty_model(self) -> GPT2LMHeadModel:
        """transformers' own model of this architecture; its parameters have shapes alone."""
        from transformers import GPT2LMHeadModel

        with torch.device("meta"):
            return GPT2LMHeadModel(self.reference_config()).eval().requires_grad_(False)

    def reference_model(self) -> GPT2LMHeadModel:
        """transformers' own model with these weights, in float32 and evaluation mode: what a bundle is held against."""
        model = self.empty_model()
        weights = {
            name if name == "lm_head.weight" else f"transformer.{name}": self.tensor(name) for name in self.names()
        }
        if self.architecture.tied_head:
            weights["lm_head.weight"] = weights["transformer.wte.weight"]
        model.load_state_dict(weights, strict=True, assign=True)
        model.tie_weights()
        return model.eval().requires_grad_(False)


def open_checkpoint(
    source: str | Path, *, tokenizer: Path | None = None, revision: str | None = None, hub: HubAccess = HubAccess()
) -> Checkpoint:
    """Open a GPT-2 checkpoint: names, shapes and configuration are checked, weights are read later.

    `source`: a Hugging Face folder, nanoGPT's ckpt.pt (or the folder holding it), or a hub id, which may end in
    @REVISION. What exists on disk, or looks like a mistyped path, is taken for a path. `tokenizer`: where the
    vocabulary files are, when not beside the weights. `revision`: branch, tag or commit, for the hub only.

    Raises BundleError when there is no usable GPT-2 there, OptionError when nothing is there or the options
    contradict each other.
    """
    source = os.path.expanduser(source)  # Path.expanduser raises RuntimeError where there is no such user
    vocabulary = None if tokenizer is None else _vocabulary_folder(Path(tokenizer))
    path = Path(source)
    if path.exists():
        if not (path.is_file() or path.is_dir()):
            raise BundleError(f"{path} is neither a file nor a folder; give a checkpoint on the disk, or a hub id")
        if revision is not None:
            raise OptionError(
                f"revision {revision!r} was given with {source}, a path on this machine; only hub models "
                "have revisions. Leave it out"
            )
        model, commit = _read(path), None
    else:
        hub_id = split_hub_id(source)
        if hub_id.revision and revision is not None and hub_id.revision != revision:
            raise OptionError(
                f"{source} names the revision {hub_id.revision!r} but {revision!r} was given too; give one of them"
            )
        snapshot = download(hub_id.repository, hub_id.revision or revision, hub, vocabulary=vocabulary is None)
        model, commit = replace(_read(snapshot.folder), kind="hub", name=snapshot.repository), snapshot.commit
    if vocabulary is None:
        # A checkpoint of one file does not hold its vocabulary, so forgetting it is the common mistake: say so at once.
        vocabulary = model.path if model.path.is_dir() else _with_vocabulary(model.path.parent)
    files = (*model.files, *_vocabulary_files(vocabulary))
    return Checkpoint(model, Source(model.kind, model.name, model.path, commit, files), vocabulary)


def _read(path: Path) -> StoredModel:
    for format_ in FORMATS:
        if format_.recognize(path):
            return format_.read(path)
    expected = ", or ".join(format_.EXPECTED for format_ in FORMATS)
    raise BundleError(f"{path} is no checkpoint: {_content(path)}. Give {expected}")


def _content(path: Path) -> str:
    if path.suffix in BUNDLE_SUFFIXES:
        return "it is a finished bundle, whose weights may be rounded. A checkpoint is what bundles are made from"
    if path.is_file():
        return "it is no file of a known format"
    if bundles := [str(file) for suffix in BUNDLE_SUFFIXES for file in sorted(path.glob(f"*{suffix}"))]:
        return f"it holds finished bundles ({', '.join(bundles)}). A checkpoint is what they are made from"
    names = sorted(entry.name for entry in path.iterdir())
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"it holds {', '.join(names[:5]) or 'nothing'}{more}"


def _vocabulary_folder(path: Path) -> Path:
    path = Path(os.path.expanduser(path))
    if path.name == "meta.pkl":
        raise BundleError(_PICKLED_VOCABULARY.format(path))
    if path.is_file() and path.name in TOKENIZER_FILES:
        path = path.parent
    if not path.is_dir():
        raise (BundleError if path.exists() else OptionError)(
            f"tokenizer {path} is no folder; give the one with vocab.json and merges.txt, or tokenizer.json"
        )
    return _with_vocabulary(path)


def _vocabulary_files(folder: Path) -> list[Path]:
    return [folder / name for name in TOKENIZER_FILES if (folder / name).is_file()]


_PICKLED_VOCABULARY = (
    "{} is nanoGPT's character vocabulary: a pickle, which can run any code and is never opened, and characters, "
    "where a bundle needs byte-level BPE. Train on GPT-2's BPE instead, as nanoGPT's data/shakespeare does"
)


def _with_vocabulary(folder: Path) -> Path:
    have = {path.name for path in _vocabulary_files(folder)}
    if have >= {"vocab.json", "merges.txt"} or have & {"tokenizer.json", PIECES_FILE}:
        return folder
    if any((folder / name).is_file() for name in OTHER_PIECES_FILES):
        return folder  # which read_vocabulary refuses, saying why
    if (folder / "meta.pkl").is_file():
        raise BundleError(_PICKLED_VOCABULARY.format(folder / "meta.pkl"))
    lacks = f"{folder} has no vocabulary: vocab.json with merges.txt, or tokenizer.json, was expected"
    if (folder / "vocab.txt").is_file():
        raise BundleError(
            f"{lacks}, and vocab.txt is there, a WordPiece or word vocabulary, as BERT's. If the model was trained "
            f"with it, it cannot be bundled: only byte-level BPE and T5Tokenizer's {PIECES_FILE} can be; else give the "
            "folder of its vocabulary as the tokenizer"
        )
    if "vocab.json" in have:
        lacks += ", and merges.txt is missing: tokens alone do not say how text is cut"
    raise BundleError(
        f"{lacks}. Put the files there, or give their folder as the tokenizer (nanoGPT's default is GPT-2's "
        "vocabulary: the files of openai-community/gpt2)"
    )
