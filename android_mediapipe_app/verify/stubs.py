"""Java classes of the declarations in stubs/android.txt, to compile the app against where there is no Android SDK.

They do nothing: every method throws. What the engines do is in stubs/mediapipe and stubs/litertlm, written by hand.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

DECLARATIONS = Path(__file__).resolve().parent / "stubs" / "android.txt"

_HEADER = re.compile(
    r"(?P<kind>(?:abstract )?class|interface) (?P<name>[\w.]+)"
    r"(?: extends (?P<extends>[^{]+?))?(?: implements (?P<implements>.+))?$"
)
_METHOD = re.compile(
    r"(?P<modifiers>(?:@Deprecated |static |abstract |final )*)(?P<generic><[^(]+?> )?"
    r"(?:(?P<type>[\w.<>?\[\], ]+?) )?(?P<name>\w+)"
    r"\((?P<arguments>.*)\)(?: throws (?P<throws>.+))?$"
)
_FIELD = re.compile(r"(?P<modifiers>(?:static |final )*)(?P<type>[\w.\[\]]+) (?P<name>\w+)(?: = (?P<value>.+))?$")


@dataclass
class Declared:
    """One class of the declarations: `name` with its package, `members` as written."""

    kind: str
    name: str
    extends: str | None
    implements: str | None
    members: list[str] = field(default_factory=list)

    @property
    def package(self) -> str:
        return ".".join(part for part in self.name.split(".") if part[0].islower())

    @property
    def path(self) -> tuple[str, ...]:
        """The names from the outermost class to this one."""
        return tuple(self.name.removeprefix(self.package + ".").split("."))


def read_declarations(path: Path = DECLARATIONS) -> list[Declared]:
    """The classes in a declarations file. Raises ValueError with the line that cannot be read."""
    classes: list[Declared] = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        text = line.split("#", 1)[0].rstrip()
        if not text:
            continue
        if text.startswith("  ") and classes:
            if not (_METHOD.match(text.strip()) or _FIELD.match(text.strip())):
                raise ValueError(f"{path.name}:{number}: no method and no field: {text.strip()}")
            classes[-1].members.append(text.strip())
        elif match := _HEADER.match(text):
            classes.append(Declared(match["kind"], match["name"], match["extends"], match["implements"]))
        else:
            raise ValueError(f"{path.name}:{number}: no class: {text}")
    return classes


def write_sources(classes: list[Declared], folder: Path) -> list[Path]:
    """One Java file per outermost class, below `folder`."""
    written = []
    for outer in (declared for declared in classes if len(declared.path) == 1):
        inner = [
            declared
            for declared in classes
            if declared.package == outer.package and declared.path[0] == outer.path[0] and declared is not outer
        ]
        path = folder / Path(*outer.package.split(".")) / f"{outer.path[0]}.java"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"package {outer.package};\n\n{_source(outer, inner)}")
        written.append(path)
    return written


def _source(declared: Declared, inner: list[Declared]) -> str:
    is_interface = declared.kind == "interface"
    head = f"public {'' if len(declared.path) == 1 else 'static '}{declared.kind} {declared.path[-1]}"
    if declared.extends:
        head += f" extends {declared.extends}"
    if declared.implements:
        head += f" implements {declared.implements}"
    lines = [_member(declared, member, is_interface) for member in declared.members]
    if not is_interface:
        if not any(member.startswith(f"{declared.path[-1]}()") for member in declared.members):
            # Only for the constructors of other stubs; a call of it from the app would be found by api_check.py.
            lines.append(f"protected {declared.path[-1]}() {{ }}")
        # Keeps the compiler from copying a value that differs between phones into the app's classes.
        if any("run(" in member for member in declared.members):
            lines.append("private static <T> T run(T value) { return value; }")
    lines += [_source(nested, []) for nested in inner]
    return head + " {\n    " + "\n    ".join("\n".join(lines).splitlines()) + "\n}\n"


def _member(declared: Declared, member: str, is_interface: bool) -> str:
    method = _METHOD.match(member)
    if not method:
        parts = _FIELD.match(member)
        return (
            f"public {parts['modifiers']}{parts['type']} "
            f"{parts['name']}{' = ' + parts['value'] if parts['value'] else ''};"
        )
    arguments = ", ".join(f"{kind} a{index}" for index, kind in enumerate(_split(method["arguments"])))
    throws = f" throws {method['throws']}" if method["throws"] else ""
    if not method["type"]:
        return f"public {method['name']}({arguments}){throws} {{ }}"
    has_body = not is_interface and "abstract" not in method["modifiers"]
    body = ' { throw new UnsupportedOperationException("a stub"); }' if has_body else ";"
    visibility = "protected" if method["name"] in _PROTECTED.get(declared.name, ()) else "public"
    return (
        f"{visibility} {method['modifiers']}{method['generic'] or ''}{method['type']} "
        f"{method['name']}({arguments}){throws}{body}"
    )


_PROTECTED = {
    "android.app.Activity": (
        "onCreate",
        "onStart",
        "onStop",
        "onPause",
        "onDestroy",
        "onNewIntent",
        "onActivityResult",
        "onSaveInstanceState",
        "onRestoreInstanceState",
    )
}


def _split(arguments: str) -> list[str]:
    """The types between commas, those within angle brackets left together."""
    return [part.strip() for part in re.split(r",(?![^<]*>)", arguments) if part.strip()]
