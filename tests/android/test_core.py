"""Rungs 1 and 2 of the app's checks, and that Kotlin and Python speak of the same findings."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CORE = ROOT / "android_mediapipe_app" / "core" / "src"
# A whole compiler and a few hundred tests run here; that takes a minute on a busy machine.
pytestmark = pytest.mark.timeout(600)


def test_core_compiles_without_a_warning_and_its_tests_pass_and_reach_it(core_and_tests):
    from check_core import check_core
    from toolchain import ToolMissing

    try:
        result = check_core(core_and_tests)
    except ToolMissing as missing:
        pytest.skip(str(missing))
    assert result.tests >= 120
    assert result.coverage >= 0.9, result.missed
    assert all(reached / lines >= 0.9 for reached, lines in result.packages.values()), result.packages


def test_ktlint_has_nothing_to_say(kotlin):
    from check_core import check_style

    check_style()


def test_a_test_that_fails_is_noticed(kotlin, tmp_path):
    from toolchain import CheckFailed, ToolMissing, compile_kotlin, junit_jars, run_junit

    source = tmp_path / "RedTest.kt"
    source.write_text(
        "import org.junit.Assert.assertTrue\nimport org.junit.Test\n\nclass RedTest {\n    @Test\n    fun red() = "
        "assertTrue(1 > 2)\n}\n"
    )
    try:
        compile_kotlin(kotlin, [source], tmp_path / "out", junit_jars())
    except ToolMissing as missing:
        pytest.skip(str(missing))
    with pytest.raises(CheckFailed, match="Failures: 1"):
        run_junit(["RedTest"], [tmp_path / "out", kotlin.stdlib])


@pytest.mark.parametrize(
    "line, complaint",
    [('@Deprecated("old") fun f() = 1\n\nfun g() = f()', "deprecated"), ("fun f(): String = null", "null")],
)
def test_a_warning_is_an_error(kotlin, tmp_path, line, complaint):
    from toolchain import CheckFailed, compile_kotlin

    (tmp_path / "A.kt").write_text(f"package a\n\n{line}\n")
    with pytest.raises(CheckFailed, match=complaint):
        compile_kotlin(kotlin, [tmp_path / "A.kt"], tmp_path / "out")


def test_what_java_8_does_not_have_is_not_called(kotlin, tmp_path):
    """Android 7 would fail at run time, as would java.nio.ByteBuffer's own flip()."""
    from check_core import CORE_FLAGS
    from toolchain import CheckFailed, compile_kotlin

    (tmp_path / "A.kt").write_text("package a\n\nfun f(list: java.io.InputStream): ByteArray = list.readAllBytes()\n")
    with pytest.raises(CheckFailed, match="readAllBytes"):
        compile_kotlin(kotlin, [tmp_path / "A.kt"], tmp_path / "out", (), *CORE_FLAGS)


def test_the_codes_are_the_doctors():
    """Codes of core are in docs/FINDINGS.md, or begin with app-, and say what they mean where they are listed."""
    listed = set(re.findall(r"^\| `([a-z0-9-]+)` \|", (ROOT / "docs" / "FINDINGS.md").read_text(), re.MULTILINE))
    source = (CORE / "main/kotlin/dev/taskbundler/core/findings/FindingCode.kt").read_text()
    codes = re.findall(r'\("([a-z0-9-]+)"\)', source)
    assert len(codes) == len(set(codes)) > 40
    assert [code for code in codes if code not in listed and not code.startswith("app-")] == []
    assert not any(code in listed for code in codes if code.startswith("app-"))


def test_every_code_is_given_somewhere():
    uses = "".join(path.read_text() for path in CORE.joinpath("main").rglob("*.kt") if path.name != "FindingCode.kt")
    names = re.findall(
        r"^    ([A-Z0-9_]+)\(",
        (CORE / "main/kotlin/dev/taskbundler/core/findings/FindingCode.kt").read_text(),
        re.MULTILINE,
    )
    assert [name for name in names if f"FindingCode.{name}" not in uses] == []


@pytest.mark.slow
def test_broken_code_is_noticed(core_and_tests):
    """A sample of mutations; verify/mutate.py tries as many as one likes. Slow: each runs the tests again."""
    from mutate import mutate
    from toolchain import ToolMissing

    try:
        result = mutate(40, ["merge", "formats", "task", "catalogue"], classes=core_and_tests)
    except ToolMissing as missing:
        pytest.skip(str(missing))
    # About one mutation in eight changes nothing that matters, such as how much of a hash a message shows.
    assert result.tried == 40 and result.noticed >= 0.75, result.survived
