"""The npm packages behind `try` and the MediaPipe engine: MediaPipe's WebAssembly, and the driver of a headless
browser.

They are installed once, from the lock file in bundler/web, into the user's cache folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

from bundler.errors import BundleError
from bundler.system.temporary_folder import temporary_folder

PAGE = Path(__file__).parent / "page"
ENGINE_PACKAGE = "@mediapipe/tasks-genai"
INSTALL_SECONDS = 600
INSTALL_NPM = "apt-get install npm, or https://nodejs.org (version 18 or newer)"


def runtime_version() -> str:
    """The version of MediaPipe's engine that the lock file names."""
    return json.loads((PAGE / "package.json").read_text(encoding="utf-8"))["dependencies"][ENGINE_PACKAGE]


def runtime_folder() -> Path:
    """Where the packages are, or will be; the name changes with the lock file."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    lock = hashlib.sha256((PAGE / "package-lock.json").read_bytes()).hexdigest()[:8]
    return cache / "task-bundler" / f"web-{runtime_version()}-{lock}"


def missing_runtime() -> str | None:
    """A sentence if the packages are neither installed nor can be, else None."""
    if runtime_folder().is_dir() or shutil.which("npm"):
        return None
    return f"npm is not installed; it fetches MediaPipe's engine for the browser once: {INSTALL_NPM}"


def install_runtime() -> Path:
    """Install the packages unless they are there; the folder with `node_modules`.

    Raises BundleError when npm is missing or fails; then nothing is left.
    """
    folder = runtime_folder()
    if folder.is_dir():
        return folder
    if missing := missing_runtime():
        raise BundleError(missing)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with temporary_folder("runtime", folder.parent) as partial:
        staged = partial / "web"
        staged.mkdir()
        for name in ("package.json", "package-lock.json"):
            shutil.copyfile(PAGE / name, staged / name)
        try:
            result = subprocess.run(
                ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"],
                cwd=staged,
                capture_output=True,
                text=True,
                timeout=INSTALL_SECONDS,
            )
        except subprocess.TimeoutExpired as error:
            raise BundleError(
                f"npm ci took longer than {INSTALL_SECONDS} s; check the network and try again"
            ) from error
        if result.returncode:
            raise BundleError(
                f"npm ci ended with {result.returncode}; check the network and try "
                f"again\n{result.stderr.strip()[-1500:]}"
            )
        try:
            staged.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was faster, with the same files
                raise
    return folder
