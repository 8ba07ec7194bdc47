"""The model card: the hub's library reads its header, and its snippets are those of the versions in use."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from bundler.pipeline import model_card as card
from bundler.web.runtime import runtime_version

ROOT = Path(__file__).parents[3]
MANIFEST = {
    "source": {"kind": "hub", "name": "someone/gpt2", "revision": "a" * 40},
    "licence": "mit",
    "recipe": "int8",
    "context": 96,
    "prefill": [8, 32],
    "architecture": {"layers": 2, "width": 32},
    "start_token": "<|endoftext|>",
    "stop_tokens": ["<|endoftext|>"],
    "sampler": {"temperature": 0.8, "top_k": 40, "top_p": 1.0},
    "bytes": {"task": 1, "litertlm": 1},
    "tokenizer": {"vocabulary": 4, "parse_special": True, "alias_of": []},
    "verification": [],
}


def snippets(text, language):
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_the_header_is_the_hubs():
    data = ModelCard(card.with_uploader(card.model_card("tiny", MANIFEST), "someone")).data
    assert (data.base_model, data.license, data.library_name) == ("someone/gpt2", "mit", "litert-lm")
    assert (data.pipeline_tag, data.base_model_relation, data.quantized_by) == (
        "text-generation",
        "quantized",
        "someone",
    )
    assert {"gpt2", "int8", "mediapipe"} <= set(data.tags)
    again = card.with_uploader(card.with_uploader(card.model_card("tiny", MANIFEST), "someone"), "other")
    assert again.count("quantized_by") == 1 and ModelCard(again).data.quantized_by == "other"


def test_what_is_not_known_is_left_out():
    manifest = {**MANIFEST, "source": {"kind": "folder", "name": "x", "revision": None}, "recipe": "fp32"}
    del manifest["licence"]
    data = ModelCard(card.model_card("tiny", manifest)).data
    assert not {"base_model", "license", "base_model_relation", "quantized_by"} & set(data.to_dict())


def test_versions_are_those_in_use():
    versions = tomllib.loads((ROOT / "android_mediapipe_app" / "gradle" / "libs.versions.toml").read_text())["versions"]
    assert (card.KOTLIN_MEDIAPIPE, card.KOTLIN_LITERTLM) == (versions["tasks-genai"], versions["litertlm"])
    assert card.JAVASCRIPT == runtime_version()


def test_a_name_ends_no_string():
    assert '"model.task"' in card.usage('a"b', MANIFEST) and "$x" not in card.usage("$x", MANIFEST)


@pytest.mark.parametrize("language", ["python", "sh"])
def test_the_snippet_runs(tiny_bundle, language, tmp_path):
    """As it stands in the card, beside the files; it leaves caches there, so in a copy of them."""
    output = shutil.copytree(tiny_bundle[0], tmp_path / "tiny")
    (snippet,) = snippets((output / "README.md").read_text(), language)
    if language == "sh":
        snippet = snippet.replace("litert-lm ", f"{Path(sys.executable).parent / 'litert-lm'} ", 1)
    command = ["sh", "-c", snippet] if language == "sh" else [sys.executable, "-c", snippet]
    done = subprocess.run(command, cwd=output, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and len(done.stdout.strip()) > 10, json.dumps([done.stdout, done.stderr[-2000:]])
