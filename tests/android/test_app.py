"""The app's ladder, rung by rung, and that the rungs notice what they are for."""

import dataclasses
import shutil
import subprocess
from pathlib import Path

import pytest

# The app is compiled here, and a hundred tests run on the JVM.
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def ladder(app_classes, tmp_path_factory):
    from app_check import Ladder

    return Ladder(tmp_path_factory.mktemp("ladder"), app_classes)


# 1, 2, 7 and 8 have tests of their own beside this one.
@pytest.mark.parametrize("number", [3, 4, 5, 6, 9])
def test_rung(ladder, number):
    outcome = ladder.climb(number)
    if outcome.status == "skipped":
        pytest.skip(outcome.detail)
    assert outcome.status == "ok", outcome.detail


def test_every_rung_of_the_runner_is_there(kotlin, tmp_path):
    from app_check import Ladder

    assert list(Ladder(tmp_path).rungs) == [1, 2, 3, 4, 5, 6, 7, 8, 9]


@pytest.fixture(scope="module")
def platform(kotlin):
    from platform_api import declarations, read_platform

    return read_platform(declarations(kotlin.npm))


# Levels before 21, the oldest that is listed, are told as 1.
@pytest.mark.parametrize(
    "owner, member, since",
    [
        ("android.app.Activity", ("onCreate", 1), 1),
        ("android.content.Context", ("getColor", 1), 23),
        ("android.app.Activity", ("getColor", 1), 23),  # inherited, over two classes
        ("android.widget.EditText", ("getText", 0), 1),
        ("android.app.ActivityManager", ("getHistoricalProcessExitReasons", 3), 30),
        ("android.os.Build.VERSION", "SDK_INT", 1),
        ("android.os.Handler", ("constructor", 1), 1),
        ("android.widget.TextView", ("setText", 7), None),
        ("android.widget.NoSuchThing", None, None),
        ("java.nio.file.Files", ("copy", 3), 26),
        ("java.lang.String", ("hashCode", 0), 1),
    ],
)
def test_the_platform_is_read_with_its_levels(platform, owner, member, since):
    from platform_api import level

    assert level(platform, owner, member) == since


NEW = ("android.app.ActivityManager", ("getHistoricalProcessExitReasons", 3))
NAME = "android.app.ActivityManager.getHistoricalProcessExitReasons/3"


@pytest.mark.parametrize(
    "looks, guarded, complaint",
    [
        (True, {NAME: (30, "a.B")}, None),
        (True, {}, "came with level 30"),
        (True, {NAME: (29, "a.B")}, "it came with 30"),
        (True, {NAME: (30, "a.C")}, "allows to a.C alone"),
        (False, {NAME: (30, "a.B")}, "does not look at"),
        (True, {NAME: (30, "a.B"), "android.app.Foo": (31, "a.B")}, "not used"),
    ],
)
def test_a_newer_call_is_found_unless_it_is_listed_and_behind_a_check(platform, looks, guarded, complaint):
    from api_check import Reference, api_problems

    references = [Reference(*NEW, "a.B")]
    if looks:
        references.append(Reference("android.os.Build.VERSION", "SDK_INT", "a.B"))
    problems = api_problems(references, platform, 24, guarded)
    assert (problems == []) if complaint is None else any(complaint in problem for problem in problems)


def test_newer_java_is_found_in_real_classes(platform, tmp_path):
    from api_check import api_problems, references

    javac = shutil.which("javac") or pytest.skip("javac is not installed: apt-get install openjdk-17-jdk-headless")
    source = tmp_path / "A.java"
    source.write_text(
        "class A { boolean a(String s) throws Exception { java.nio.file.Files.delete(null); return s.isBlank() || "
        "s.isEmpty(); } }"
    )
    subprocess.run([javac, "-d", tmp_path / "out", source], check=True)
    problems = api_problems(references(tmp_path / "out"), platform, 24, {})
    assert {problem.split(" refers to ")[1].split(",")[0] for problem in problems} == {
        "java.nio.file.Files",
        "java.nio.file.Files.delete/1",
        "java.lang.String.isBlank/0",
    }


@pytest.fixture
def resources_copy(monkeypatch, tmp_path):
    """The module that checks resources, working on a copy; and a function that changes a file of the copy."""
    import resources

    copy = tmp_path / "main"
    shutil.copytree(resources.MAIN, copy)
    monkeypatch.setattr(resources, "MAIN", copy)
    monkeypatch.setattr(resources, "APP", tmp_path.parent)

    def change(name: str, before: str, after: str) -> None:
        path = copy / name
        text = path.read_text()
        assert before in text
        path.write_text(text.replace(before, after, 1))

    monkeypatch.setattr(
        resources, "gradle_value", {"namespace": "dev.taskbundler.app", "minSdk": "24", "targetSdk": "36"}.get
    )
    return resources, change


@pytest.mark.parametrize(
    "file, before, after, complaint",
    [
        (
            "res/values-pt/strings.xml",
            '    <string name="accept">Aceitar</string>\n',
            "",
            "values-pt: string/accept is missing",
        ),
        ("res/values-pt/strings.xml", "%1$d ms", "%1$s ms", "placeholders"),
        ("res/values-pt-rBR/strings.xml", "{needed}", "{need}", "placeholders"),
        ("res/values/strings.xml", "</resources>", '<string name="more">more</string></resources>', "used nowhere"),
        ("res/values/strings.xml", 'name="accept"', 'name="accepted"', "accept is used and is in no"),
        ("res/layout/screen_write.xml", '"@string/undo"', '"Undo"', "is not in strings.xml"),
        (
            "res/layout/screen_settings.xml",
            '            android:labelFor="@+id/words"\n',
            "",
            "neither a hint nor a label",
        ),
        ("res/layout/screen_write.xml", '"@+id/stop"', '"@+id/halt"', "WriteActivity.kt asks for stop, which none"),
        (
            "res/layout/library_item.xml",
            "    <Button\n",
            "    <CheckedTextView\n",
            "ItemList.kt asks for delete as Button; it is a CheckedTextView",
        ),
        (
            "AndroidManifest.xml",
            "<application",
            '<uses-permission android:name="android.permission.CAMERA" /><application',
            "asks for android.permission.CAMERA",
        ),
        ("AndroidManifest.xml", "android.permission.INTERNET", "android.permission.VIBRATE", "does not remove it"),
        ("AndroidManifest.xml", ".write.WriteActivity", ".write.Writer", "is not there"),
        ("AndroidManifest.xml", "libOpenCL.so", "libOpenCl.so", "MediaPipe could not use"),
        ("AndroidManifest.xml", "libvndksupport.so", "libvndk.so", "LiteRT-LM could not use"),
        ("AndroidManifest.xml", "libvndksupport.so", "libvndk.so", "libvndk.so is needed by no engine"),
        (
            "AndroidManifest.xml",
            '            android:exported="true"\n            android:windowSoftInputMode',
            "            android:windowSoftInputMode",
            "exported",
        ),
    ],
)
def test_what_is_wrong_with_texts_and_manifest_is_found(resources_copy, file, before, after, complaint):
    resources, change = resources_copy
    change(file, before, after)
    problems = [
        *resources.string_problems(),
        *resources.manifest_problems(),
        *resources.layout_problems(),
        *resources.view_problems(),
    ]
    assert any(complaint in problem for problem in problems), problems


def test_a_resource_that_does_not_link_is_found(resources_copy, tmp_path):
    from framework import framework
    from toolchain import CheckFailed, ToolMissing

    resources, change = resources_copy
    change("res/layout/chip.xml", "@drawable/chip", "@drawable/chop")
    try:
        with pytest.raises(CheckFailed, match="chop"):
            resources.link(tmp_path, framework().android)
    except ToolMissing as missing:
        pytest.skip(str(missing))


def test_outcomes_are_plain_data(ladder):
    outcome = ladder.climb(5)
    assert set(dataclasses.asdict(outcome)) == {"number", "title", "status", "detail", "seconds"}


def test_the_command_ends_with_1_when_a_rung_fails(monkeypatch, capsys, kotlin):
    import app_check
    from toolchain import CheckFailed

    def fail():
        raise CheckFailed("a text is missing")

    monkeypatch.setattr(app_check.resources, "check_resources", fail)
    monkeypatch.setattr("sys.argv", ["app_check.py", "--rung", "5", "--json"])
    with pytest.raises(SystemExit) as end:
        app_check.main()
    assert end.value.code == 1
    printed = capsys.readouterr()
    assert '"status": "failed"' in printed.out and "a text is missing" in printed.err


def test_only_one_file_knows_each_engine():
    main = Path(__file__).parents[2] / "android_mediapipe_app"
    for package, name in (
        ("com.google.mediapipe", "MediaPipeEngine.kt"),
        ("com.google.ai.edge.litertlm", "LiteRtLmEngine.kt"),
    ):
        users = [
            path.name
            for folder in ("app/src", "core/src")
            for path in (main / folder).rglob("*.kt")
            if f"import {package}" in path.read_text()
        ]
        assert users == [name]
