"""Rung 9: what Gradle will read, as far as that can be checked without the Android Gradle plugin. And the one place
where the compiler's flags stand: the modules' build.gradle.kts, from which the other rungs take them.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
import tomllib
import xml.etree.ElementTree as ElementTree
import zipfile
from pathlib import Path

from toolchain import APP, CheckFailed, Toolchain, ToolMissing, require, toolchain

# These groups are in Google's repository and not on Maven Central.
GOOGLES = ("com.android.", "com.google.mediapipe", "com.google.ai.edge.")
_NAMESPACE = "http://maven.apache.org/POM/4.0.0"


def check_gradle() -> str:
    """Everything of rung 9. Returns what was checked; raises CheckFailed with all that is wrong, ToolMissing."""
    if problems := [*catalog_problems(), *module_problems(), *compiler_problems(toolchain())]:
        raise CheckFailed("\n".join(problems))
    artifacts = catalog_artifacts()
    asked = [name for name in artifacts if not name.startswith(GOOGLES)]
    ask_maven(asked)
    return (
        f"the catalog fits its modules and the compiler; {len(asked)} of {len(artifacts)} artifacts are on Maven "
        "Central, the others would be in Google's repository, which was not asked"
    )


def kotlin_flags(module: str) -> tuple[str, ...]:
    """What Gradle tells kotlinc for a module beyond paths. Warnings are errors in verify/ everywhere."""
    text = _build_file(module)
    target = re.search(r"jvmTarget\.set\(JvmTarget\.JVM_(\w+)\)", text)[1].replace("_", ".")
    return "-jvm-target", target, *re.findall(r'freeCompilerArgs\.add\("([^"]+)"\)', text)


def modules() -> list[str]:
    """The modules that settings.gradle.kts includes."""
    line = re.search(r"^include\((.+)\)$", (APP / "settings.gradle.kts").read_text(), re.MULTILINE)[1]
    return re.findall(r'":(\w+)"', line)


def catalog() -> dict:
    """gradle/libs.versions.toml."""
    return tomllib.loads((APP / "gradle/libs.versions.toml").read_text())


def catalog_artifacts() -> list[str]:
    """Every GROUP:NAME:VERSION of the catalog; a plugin is found by its marker, which Gradle looks up by the id."""
    parts = catalog()
    versions = parts["versions"]
    libraries = [f"{entry['module']}:{versions[entry['version']['ref']]}" for entry in parts["libraries"].values()]
    plugins = [
        f"{entry['id']}:{entry['id']}.gradle.plugin:{versions[entry['version']['ref']]}"
        for entry in parts["plugins"].values()
    ]
    return libraries + plugins


def catalog_problems() -> list[str]:
    """Versions that are not there or used by nothing, and names that build files and catalog do not share."""
    parts = catalog()
    entries = [*parts["libraries"].values(), *parts["plugins"].values()]
    named = {entry["version"]["ref"] for entry in entries}
    problems = [f"the catalog names the version {name}, which it has not" for name in named - parts["versions"].keys()]
    problems += [f"the version {name} is used by nothing" for name in parts["versions"].keys() - named]
    # Gradle writes a dot where the catalog has a dash.
    known = {f"libs.{name.replace('-', '.')}" for name in parts["libraries"]}
    known |= {f"libs.plugins.{name.replace('-', '.')}" for name in parts["plugins"]}
    scripts = [_build_file(folder) for folder in ("", *modules())]
    used = {name for text in scripts for name in re.findall(r"\((libs\.[\w.]+)\)", text)}
    problems += [f"{name} is used and is not in the catalog" for name in sorted(used - known)]
    problems += [f"{name} is in the catalog and used nowhere" for name in sorted(known - used)]
    return problems


def module_problems() -> list[str]:
    """Modules and files that build files name and that are not there."""
    problems = [
        f"settings.gradle.kts includes {module}, which has no build.gradle.kts"
        for module in modules()
        if not (APP / module / "build.gradle.kts").exists()
    ]
    for module in modules():
        text = _build_file(module)
        problems += [
            f"{module} needs the project {other}, which is not included"
            for other in re.findall(r'project\(":(\w+)"\)', text)
            if other not in modules()
        ]
        problems += [
            f"{module} names {name}, which is not there"
            for name in re.findall(r'proguardFiles\(.*"([\w.-]+\.pro)"\)', text)
            if not (APP / module / name).exists()
        ]
    return problems


def compiler_problems(tools: Toolchain) -> list[str]:
    """Whether the compiler that verify/ runs is the one that Gradle will."""
    with zipfile.ZipFile(tools.kotlin) as jar:
        ours = jar.read("META-INF/compiler.version").decode().strip().removesuffix("-release")
    expected = catalog()["versions"]["kotlin"]
    return [] if ours == expected else [f"verify/ compiles with Kotlin {ours}, Gradle would with {expected}"]


def ask_maven(artifacts: list[str]) -> None:
    """Raises CheckFailed for what Maven Central has not, ToolMissing where it cannot be asked."""
    maven = require("mvn", "apt-get install maven")
    with tempfile.TemporaryDirectory() as temporary:
        project = Path(temporary) / "pom.xml"
        project.write_bytes(_project(artifacts))
        # -U: what was not there some time ago is asked for again.
        command = [maven, "-q", "-B", "-U", "-f", project, "dependency:resolve"]
        done = subprocess.run(command, capture_output=True, text=True)
    if not done.returncode:
        return
    # Maven says "Could not find artifact …", or what it found out in an earlier run: "… was not found in …".
    missing = [name for name in artifacts if name.rpartition(":")[0] + ":pom:" + name.rpartition(":")[2] in done.stdout]
    if missing and "transfer" not in done.stdout:
        raise CheckFailed(f"not on Maven Central: {', '.join(missing)}")
    raise ToolMissing(f"Maven Central cannot be asked: {done.stdout.strip()[:600]}")


def _project(artifacts: list[str]) -> bytes:
    """A pom.xml that asks for the artifacts' own poms, and not for what these need."""
    root = ElementTree.Element("project", xmlns=_NAMESPACE)
    _add(root, modelVersion="4.0.0", groupId="dev.taskbundler", artifactId="catalog", version="1", packaging="pom")
    dependencies = ElementTree.SubElement(root, "dependencies")
    for artifact in artifacts:
        group, name, version = artifact.split(":")
        dependency = ElementTree.SubElement(dependencies, "dependency")
        _add(dependency, groupId=group, artifactId=name, version=version, type="pom")
        exclusions = ElementTree.SubElement(dependency, "exclusions")
        _add(ElementTree.SubElement(exclusions, "exclusion"), groupId="*", artifactId="*")
    plugins = ElementTree.SubElement(ElementTree.SubElement(root, "build"), "plugins")
    # The version of robolectric/pom.xml, which is there already.
    plugin = ElementTree.SubElement(plugins, "plugin")
    _add(plugin, groupId="org.apache.maven.plugins", artifactId="maven-dependency-plugin", version="3.8.1")
    return ElementTree.tostring(root)


def _add(parent: ElementTree.Element, **children: str) -> None:
    for name, text in children.items():
        ElementTree.SubElement(parent, name).text = text


def _build_file(module: str) -> str:
    """Its text; nothing where `module_problems` says that it is missing."""
    path = APP / module / "build.gradle.kts"
    return path.read_text() if path.exists() else ""
