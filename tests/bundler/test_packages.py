"""The packages of `bundler`: which may import which, and the names that Python programs import."""

import ast
import re
import subprocess
import sys
import tomllib
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import bundler
from bundler.commands.cli import task_bundler
from bundler.commands.console import option_flags, with_flags

ROOT = Path(bundler.__file__).parent
PACKAGES = ("bundler", "lora_weights", "tokenizer_tools", "gpt2_training")
MOST_PARAMETERS = 6
# From the ground up. A package may import those on lower floors only.
FLOORS = (
    {"errors"},
    {"system"},
    {"checkpoints", "tflite", "web"},
    {"containers", "conversion"},
    {"doctor", "engines", "lora"},
    {"verification"},
    {"pipeline"},
    {"commands"},
    {"__main__"},
)
FLOOR = {name: number for number, names in enumerate(FLOORS) for name in names}


def imports(path):
    """The packages of bundler that a file imports anywhere in it, also inside of functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        modules = (
            [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else [name.name for name in node.names]
            if isinstance(node, ast.Import)
            else []
        )
        if isinstance(node, ast.ImportFrom) and node.module == "bundler":
            modules = [f"bundler.{name.name}" for name in node.names]
        yield from (module.split(".")[1] for module in modules if module.startswith("bundler."))


@pytest.mark.parametrize("package", sorted(FLOOR))
def test_a_package_imports_from_below(package):
    files = [ROOT / f"{package}.py"] if (ROOT / f"{package}.py").exists() else [*(ROOT / package).rglob("*.py")]
    assert files
    upwards = {
        f"{file.relative_to(ROOT)} imports {name}"
        for file in files
        for name in imports(file)
        if name != package and FLOOR[name] >= FLOOR[package]
    }
    assert not upwards


def modules_of(path):
    """The modules that a file imports by name, also for type checkers alone; of a package, those taken from it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (node.module, *(f"{node.module}.{name.name}" for name in node.names))


def test_no_two_files_lead_to_each_other():
    files = [path for package in PACKAGES for path in (ROOT.parent / package).rglob("*.py") if path.stem != "__init__"]
    names = {".".join(path.relative_to(ROOT.parent).with_suffix("").parts): path for path in files}
    graph = {name: {module for module in modules_of(path) if module in names} for name, path in names.items()}
    assert len([*TopologicalSorter(graph).static_order()]) == len(names)  # raises CycleError, which names the circle


def test_every_file_is_on_a_floor():
    names = {path.stem for path in ROOT.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert names == {*FLOOR, "__init__"}
    assert len([path for path in ROOT.iterdir() if path.name != "__pycache__"]) <= 16 and len(FLOORS) <= 10


def test_type_checkers_are_told_that_the_packages_are_typed():
    settings = tomllib.loads((ROOT.parent / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    for package in {name.split(".")[0] for name in settings["packages"]}:
        assert (ROOT.parent / package / "py.typed").exists() and "py.typed" in settings["package-data"][package]


def test_the_lower_packages_import_nothing_of_bundler():
    for package in PACKAGES[1:]:
        assert not [file for file in (ROOT.parent / package).rglob("*.py") if [*imports(file)]]


def test_tflite_has_one_reader():
    """The generated one checks nothing: it serves where we write a file, and for the names of types and operators."""
    packages = (ROOT, *(ROOT.parent / name for name in ("tokenizer_tools", "lora_weights", "gpt2_training")))
    assert {
        str(file.relative_to(ROOT.parent))
        for package in packages
        for file in package.rglob("*.py")
        if "from ai_edge_litert import schema_py_generated" in file.read_text(encoding="utf-8")
    } == {
        "bundler/conversion/compact.py",
        "bundler/conversion/unpacked_decode.py",
        "bundler/tflite/model.py",
        "lora_weights/adapter_file.py",
    }


def parameters(function):
    """The names of a function's parameters but for self and cls."""
    arguments = function.args
    names = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    return [name.arg for name in names if name and name.arg not in ("self", "cls")]


def is_command(function):
    """Is it decorated with `click.command(…)`, or with that of a group? Its parameters are the options."""
    calls = [decorator.func for decorator in function.decorator_list if isinstance(decorator, ast.Call)]
    return any(isinstance(call, ast.Attribute) and call.attr == "command" for call in calls)


@pytest.mark.parametrize("package", PACKAGES)
def test_no_function_takes_many_parameters(package):
    many = {
        f"{file.relative_to(ROOT.parent)}: {node.name} takes {len(parameters(node))}"
        for file in (ROOT.parent / package).rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and not is_command(node)
        if len(parameters(node)) > MOST_PARAMETERS
    }
    assert not many


def spoken(module):
    """The texts in what a module raises, and in the names and functions of the module that stand there."""
    raised = [node for node in ast.walk(module) if isinstance(node, ast.Raise)]
    names = {node.id for part in raised for node in ast.walk(part) if isinstance(node, ast.Name)}
    for node in ast.walk(module):
        if isinstance(node, ast.Assign) and names & {part.id for part in node.targets if isinstance(part, ast.Name)}:
            raised.append(node.value)
        elif isinstance(node, ast.FunctionDef) and node.name in names:
            raised += node.body[ast.get_docstring(node) is not None :]
    texts = (node.value for part in raised for node in ast.walk(part) if isinstance(node, ast.Constant))
    yield from (text for text in texts if isinstance(text, str))


def test_errors_name_fields_and_the_command_line_names_flags():
    """A library speaks of `lora_ranks`, in backticks; with_flags says --lora-ranks."""
    flags = dict(option_flags(task_bundler))
    assert len({*option_flags(task_bundler)}) == len(flags), "one field, one flag"
    for package in ("bundler", "tokenizer_tools", "lora_weights", "gpt2_training"):
        for path in (ROOT.parent / package).rglob("*.py"):
            if ROOT / "commands" in path.parents:
                continue
            for text in spoken(ast.parse(path.read_text(encoding="utf-8"))):
                assert not {*re.findall(r"--[a-z-]+", text)} & {*flags.values()}, f"{path}: {text}"
    known = "`recipe` int3, `lora_ranks` 4, `stop_tokens`, `decode`, `task-bundler build`, ``"
    translated = "--quant int3, --lora-ranks 4, --stop-token, `decode`, `task-bundler build`, ``"
    assert with_flags(known, task_bundler) == translated


def test_the_interface_is_there_and_costs_nothing_to_import():
    assert {name for name in bundler.__all__ if getattr(bundler, name).__name__ == name} == {*dir(bundler)}
    with pytest.raises(AttributeError, match="no attribute 'bild'"):
        bundler.bild
    done = subprocess.run(
        [sys.executable, "-c", "import bundler, sys; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"],
        timeout=60,
    )
    assert done.returncode == 0


def test_the_interface_is_documented():
    text = (ROOT.parent / "docs" / "DESIGN.md").read_text(encoding="utf-8")
    assert not [name for name in bundler.__all__ if f"`{name}" not in text]
