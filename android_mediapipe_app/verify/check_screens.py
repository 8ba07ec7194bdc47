"""Rung 8: the app's activities run on a JVM against Android's own framework classes, and draw their screens."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Sequence

from app_classes import APP_TARGET, AppClasses
from check_core import CORE
from resources import link
from toolchain import (
    APP,
    HERE,
    CheckFailed,
    compile_kotlin,
    junit_jars,
    kotlin_files,
    run_java,
    test_classes,
    toolchain,
)

ROOT = APP.parent
SAMPLE = ROOT / "gpt2_training/sample"
PICTURES = APP / "pictures"
PROMPT = 'def read(self, path):\n    """'
TOKENS = 200
_ADAPTERS = "pirate", "shouting"
# Robolectric has the next one, too, but for a JDK 21 that many a system lacks.
ANDROIDS = 34, 35
_END_TO_END = ".EndToEndTest"
_SCREENS = HERE / "screens"
# core's tests have what writes small files with all that the app reads in them.
_BUILDERS = [
    CORE / "src/test/kotlin/dev/taskbundler/core" / f"{name}.kt"
    for name in (
        "adapter/AdapterBuilder",
        "formats/FlatWriter",
        "litertlm/LitertLmBuilder",
        "task/BundleBuilder",
        "task/ZipBuilder",
        "tflite/ModelBuilder",
        "training/TrainerBuilder",
    )
]


def compile_screens(classes: AppClasses, folder: Path) -> Path:
    """The tests, and what Robolectric needs of androidx.test; returns the folder of classes. Raises CheckFailed,
    ToolMissing.
    """
    output = folder / "screens"
    compile_kotlin(
        toolchain(),
        [*kotlin_files(_SCREENS, HERE / "robolectric"), *_BUILDERS],
        output,
        [*classes.everything, *junit_jars()],
        *APP_TARGET,
        f"-Xfriend-paths={classes.core},{classes.app}",
    )
    return output


def run_screens(
    classes: AppClasses,
    tests: Path,
    names: Sequence[str],
    folder: Path,
    android: int = ANDROIDS[-1],
    **properties: object,
) -> str:
    """Run test classes in Robolectric, on Android of the API level `android`; returns what was printed. `properties`
    are the JVM's, dots for the underscores. Raises CheckFailed with it if a test fails.
    """
    settings = folder / "settings"
    config = settings / "com/android/tools/test_config.properties"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(
        f"android_resource_apk={classes.apk}\nandroid_merged_manifest={classes.apk.with_name('AndroidManifest.xml')}\n"
        "android_custom_package=dev.taskbundler.app\n"
    )
    (settings / "robolectric.properties").write_text(f"sdk={android}\ngraphicsMode=NATIVE\nlooperMode=PAUSED\n")
    return run_java(
        [settings, tests, *classes.everything, *junit_jars(), toolchain().stdlib],
        "dev.taskbundler.screens.RunKt",
        *names,
        jvm=(
            "-Xmx2g",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            # That level's own size is too small: compiling would end in the middle, and the rest be interpreted.
            "-XX:ReservedCodeCacheSize=240m",
            # Android 15's own reading of files.
            "--add-opens=java.base/java.io=ALL-UNNAMED",
            "-Drobolectric.offline=true",
            "-Drobolectric.usePreinstrumentedJars=false",
            f"-Drobolectric.dependency.dir={classes.framework.folder}",
            f"-Djava.io.tmpdir={folder}",
            *(f"-D{name.replace('_', '.')}={value}" for name, value in properties.items()),
        ),
        folder=folder,
    )


def check_drawn(classes: AppClasses, tests: Path, folder: Path) -> str:
    """The screens with fakes of the engines, on each Android in a process of its own. Each sees every screen, in its
    share of the configurations. Returns what was run; raises CheckFailed, ToolMissing.
    """
    names = [name for name in test_classes(tests) if not name.endswith(_END_TO_END)]

    def run(part: int, android: int) -> int:
        place = folder / f"android{android}"
        place.mkdir()
        shares = {"part": part, "parts": len(ANDROIDS)}
        return _count(run_screens(classes, tests, names, place, android, pictures=PICTURES, **shares))

    with ThreadPoolExecutor() as pool:
        return f"{sum(pool.map(run, range(len(ANDROIDS)), ANDROIDS))} tests on screens"


def draw_pictures(classes: AppClasses, folder: Path) -> str:
    """Draw the pictures of the app's README anew."""
    PICTURES.mkdir(exist_ok=True)
    tests = compile_screens(classes, folder)
    run_screens(classes, tests, ["dev.taskbundler.screens.PicturesTest"], folder, pictures=PICTURES, write=True)
    return f"{len(list(PICTURES.glob('*.png')))} pictures in {PICTURES.relative_to(ROOT)}"


def check_end_to_end(classes: AppClasses, tests: Path, folder: Path, sample: Path | None = None) -> str:
    """The app with LiteRT-LM behind it, which needs the project's own Python environment. `sample` is what
    `build_sample` made, if that was done before. Returns what was run; raises CheckFailed, ToolMissing.
    """
    if any(importlib.util.find_spec(name) is None for name in ("bundler", "litert_lm")):
        return "the one with LiteRT-LM behind it needs `make setup` and its .venv/bin/python"
    # In the place of the fakes, which are for MediaPipe then.
    bridge = folder / "engine_process"
    compile_kotlin(toolchain(), kotlin_files(HERE / "engine_process"), bridge, classes.everything, *APP_TARGET)
    command, trainer = ("\n".join([sys.executable, str(HERE / f"{name}_process.py")]) for name in ("engine", "trainer"))
    sample = sample or build_sample(folder / "sample")
    expected = folder / "expected.json"
    expected.write_text(json.dumps({"prompt": PROMPT, "texts": expected_texts(sample)}))
    (folder / "aapt2").mkdir()
    linked = link(folder / "aapt2", classes.framework.android, assets=pack(sample, folder / "assets"))
    with_bridge = replace(classes, engines=(bridge, *classes.engines), apk=linked.apk)
    names = [name for name in test_classes(tests) if name.endswith(_END_TO_END)]
    printed = run_screens(
        with_bridge,
        tests,
        names,
        folder,
        engine_command=command,
        trainer_command=trainer,
        expected=expected,
        task=sample / "sample.task",
    )
    return f"{_count(printed)} with LiteRT-LM behind the app"


def build_sample(folder: Path) -> Path:
    """Build the embedded sample with LoRA inputs, its two adapters and a trainer; returns `folder`."""
    from bundler.pipeline.build import build
    from bundler.pipeline.plan import BuildOptions

    sources = tuple(ROOT / "lora_weights/samples" / name for name in _ADAPTERS)
    options = BuildOptions(str(SAMPLE), folder, name="sample", lora_ranks=(16,), adapters=sources)
    # Not verified: that is what other tests are for.
    build(replace(options, verify=False, app_assets=True, trainer=True))
    return folder


def expected_texts(sample: Path) -> dict[str, str]:
    """What `task-bundler run` writes after the prompt, in each voice."""
    from bundler.engines.litertlm import open_engine

    bundle = sample / "sample.litertlm"
    # The command takes ten seconds to begin, so the voices come from the engine that it opens.
    texts = {"base": _run(bundle)}
    with open_engine(bundle) as engine:
        for name in _ADAPTERS:
            texts[name] = engine.complete(PROMPT, TOKENS, adapter=sample / f"adapters/{name}.tflite")
    return texts


def pack(build: Path, assets: Path) -> Path:
    """Put what a build has for phones where the app looks when it is new; returns `assets`. Only one of the
    containers: it is chosen by itself then.
    """
    shutil.copytree(build / "app_assets", assets / "bundles", ignore=shutil.ignore_patterns("*.task"))
    return assets


def _run(bundle: Path) -> str:
    """What `task-bundler run` writes after the prompt."""
    command = ["run", bundle, "--prompt", PROMPT, "--max-tokens", TOKENS, "--temperature", 0, "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "bundler", *map(str, command)], cwd=ROOT, capture_output=True, text=True
    )
    if done.returncode:
        raise CheckFailed(f"task-bundler run ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout)["text"]


def _count(printed: str) -> int:
    return sum(map(int, re.findall(r"^OK \((\d+) tests?\)", printed, re.MULTILINE)))
