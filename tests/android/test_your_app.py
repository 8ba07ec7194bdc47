"""The Kotlin of docs/YOUR_APP.md and of the model card compiles against the engines' fakes."""

import re
from pathlib import Path

import pytest

from bundler.pipeline.model_card import usage

pytestmark = pytest.mark.timeout(600)
ROOT = Path(__file__).parents[2]
CARD = """@file:Suppress("DEPRECATION")

import android.content.Context
import com.google.ai.edge.litertlm.*
import com.google.mediapipe.tasks.genai.llminference.*

fun card{number}(context: Context, folder: String) {{
{snippet}
}}
"""


def blocks(text, language):
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_the_kotlin_compiles(kotlin, app_classes, tmp_path):
    from toolchain import compile_kotlin, kotlin_files

    pages = [
        block
        for block in blocks((ROOT / "docs" / "YOUR_APP.md").read_text(encoding="utf-8"), "kotlin")
        if "import " in block
    ]
    cards = [
        block
        for ranks in ([], [16])
        for block in blocks(usage("tiny", {"context": 96, "lora": {"ranks": ranks}}), "kotlin")
    ]
    assert len(pages) == 2 and len(cards) == 4
    source = tmp_path / "source"
    source.mkdir()
    for number, page in enumerate(pages):
        (source / f"Page{number}.kt").write_text(page, encoding="utf-8")
    for number, snippet in enumerate(cards):
        (source / f"Card{number}.kt").write_text(CARD.format(number=number, snippet=snippet), encoding="utf-8")
    compile_kotlin(
        kotlin,
        kotlin_files(source),
        tmp_path / "classes",
        [app_classes.framework.android, *app_classes.engines, *app_classes.framework.libraries],
        "-jvm-target",
        "17",
    )
    assert [*(tmp_path / "classes").rglob("Writer.class")] and [*(tmp_path / "classes").rglob("TaskWriter.class")]


def test_the_versions_are_the_apps():
    versions = (ROOT / "android_mediapipe_app" / "gradle" / "libs.versions.toml").read_text()
    page = (ROOT / "docs" / "YOUR_APP.md").read_text(encoding="utf-8")
    for artifact, name in (("litertlm-android", "litertlm"), ("tasks-genai", "tasks-genai")):
        assert f'{artifact}:{re.search(rf"^{name} = .(.*).$", versions, re.M)[1]}"' in page
