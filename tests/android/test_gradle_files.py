"""What Gradle will read is checked, and what is wrong with it noticed."""

import shutil

import pytest


@pytest.fixture
def app(kotlin, monkeypatch, tmp_path):
    """The module that checks, working on a copy of Gradle's files; and a function that changes one of them."""
    import gradle_files

    names = ("settings.gradle.kts", "build.gradle.kts", "app/build.gradle.kts", "app/proguard-rules.pro")
    for name in (*names, "core/build.gradle.kts", "gradle/libs.versions.toml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(gradle_files.APP / name, tmp_path / name)
    monkeypatch.setattr(gradle_files, "APP", tmp_path)

    def change(name, before, after):
        text = (tmp_path / name).read_text()
        assert before in text
        (tmp_path / name).write_text(text.replace(before, after, 1))

    return gradle_files, change


def problems(gradle_files, kotlin):
    return [
        *gradle_files.catalog_problems(),
        *gradle_files.module_problems(),
        *gradle_files.compiler_problems(kotlin),
    ]


def test_the_files_are_in_order(app, kotlin):
    assert problems(app[0], kotlin) == []


@pytest.mark.parametrize(
    "file, before, after, complaint",
    [
        ("app/build.gradle.kts", "libs.litertlm.android", "libs.litertlm.andriod", "libs.litertlm.andriod is used and"),
        (
            "gradle/libs.versions.toml",
            "litertlm-android =",
            "litertlm-jvm =",
            "libs.litertlm.jvm is in the catalog and",
        ),
        ("gradle/libs.versions.toml", 'ref = "junit"', 'ref = "jnuit"', "the version jnuit, which it has not"),
        ("gradle/libs.versions.toml", "[libraries]", 'more = "1"\n[libraries]', "the version more is used by nothing"),
        ("gradle/libs.versions.toml", 'kotlin = "2.2.21"', 'kotlin = "2.2.20"', "Gradle would with 2.2.20"),
        ("settings.gradle.kts", '":core", ', "", "app needs the project core, which is not included"),
        ("settings.gradle.kts", '":core"', '":core", ":more"', "includes more, which has no build.gradle.kts"),
        ("app/build.gradle.kts", '"proguard-rules.pro"', '"rules.pro"', "app names rules.pro, which is not there"),
    ],
)
def test_what_is_wrong_is_found(app, kotlin, file, before, after, complaint):
    gradle_files, change = app
    change(file, before, after)
    assert any(complaint in problem for problem in problems(gradle_files, kotlin))


def test_the_compiler_gets_the_flags_of_the_build_files(app):
    gradle_files, change = app
    assert gradle_files.kotlin_flags("core") == ("-jvm-target", "1.8", "-Xjdk-release=1.8")
    assert gradle_files.kotlin_flags("app") == ("-jvm-target", "17")
    change("app/build.gradle.kts", "JVM_17)", 'JVM_21)\n        freeCompilerArgs.add("-Xmore")')
    assert gradle_files.kotlin_flags("app") == ("-jvm-target", "21", "-Xmore")


def test_every_artifact_has_a_group_a_name_and_a_version(app):
    artifacts = app[0].catalog_artifacts()
    assert "junit:junit:4.13.2" in artifacts
    assert "org.jetbrains.kotlin.jvm:org.jetbrains.kotlin.jvm.gradle.plugin:2.2.21" in artifacts


def test_a_version_that_maven_central_has_not_is_named(app):
    from toolchain import CheckFailed, ToolMissing

    try:
        with pytest.raises(CheckFailed, match="not on Maven Central: junit:junit:4.13.2222"):
            app[0].ask_maven(["junit:junit:4.13.2222"])
    except ToolMissing as missing:
        pytest.skip(str(missing))
