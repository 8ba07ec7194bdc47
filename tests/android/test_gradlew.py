"""gradlew fetches the Gradle that its properties name, once and checked, and hands arguments and exit code through."""

import hashlib
import http.server
import io
import os
import shutil
import subprocess
import threading
import zipfile
from pathlib import Path

import pytest

APP = Path(__file__).parents[2] / "android_mediapipe_app"
# What stands for Gradle: it tells its arguments, and ends with a code of its own.
GRADLE = '#!/bin/sh\nprintf "%s|" "$@"\nexit 7\n'


def distribution(root="gradle-9.9", script="bin/gradle"):
    """The bytes of a ZIP like Gradle's."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr(f"{root}/{script}", GRADLE)
        archive.writestr(f"{root}/lib/some.jar", b"jar")
    return content.getvalue()


@pytest.fixture
def server():
    """A web server on this machine; its `content` is what each path gives, its `asked` the paths asked for."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.server.asked.append(self.path)
            content = self.server.content.get(self.path)
            self.send_response(404 if content is None else 200)
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.asked, running.content = [], {"/gradle-9.9-bin.zip": distribution()}
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def project(server, tmp_path):
    """A folder with gradlew and properties that name the server's distribution, and its right SHA-256."""
    folder = tmp_path / "the app"
    (folder / "gradle/wrapper").mkdir(parents=True)
    shutil.copy(APP / "gradlew", folder)
    point(folder, server, hashlib.sha256(server.content["/gradle-9.9-bin.zip"]).hexdigest())
    return folder


def point(folder, server, sum):
    lines = [f"distributionUrl=http\\://127.0.0.1\\:{server.server_port}/gradle-9.9-bin.zip"]
    (folder / "gradle/wrapper/gradle-wrapper.properties").write_text(
        "\n".join([*lines, *([f"distributionSha256Sum={sum}"] if sum else [])]) + "\n"
    )


def run(folder, *arguments, **environment):
    home = folder.parent / "gradle home"
    return subprocess.run(
        [folder / "gradlew", *arguments],
        env={**os.environ, "GRADLE_USER_HOME": str(home), "no_proxy": "127.0.0.1", **environment},
        capture_output=True,
        text=True,
    )


def left(folder):
    """Every file below GRADLE_USER_HOME."""
    return [path for path in (folder.parent / "gradle home").rglob("*") if path.is_file()]


def test_it_downloads_once_and_hands_arguments_and_exit_code_through(server, project):
    first = run(project, ":app:installDebug", "-Pa=b c", "", "$HOME")
    assert (first.returncode, first.stdout) == (7, ":app:installDebug|-Pa=b c||$HOME|")
    assert "once" in first.stderr
    server.content.clear()
    second = run(project)
    assert (second.returncode, second.stdout, second.stderr) == (7, "|", "")
    assert server.asked == ["/gradle-9.9-bin.zip"]
    assert {path.name for path in left(project)} == {"gradle", "some.jar"}


def test_another_checksum_is_refused_and_leaves_nothing(server, project):
    wrong = "0" * 64
    point(project, server, wrong)
    done = run(project)
    assert done.returncode == 1 and done.stdout == ""
    assert wrong in done.stderr and "Do not use that file" in done.stderr and "Traceback" not in done.stderr
    assert left(project) == []
    point(project, server, hashlib.sha256(distribution()).hexdigest())
    assert run(project).returncode == 7


def test_without_a_checksum_it_runs_and_does_not_pass_for_checked(server, project):
    point(project, server, None)
    assert run(project).returncode == 7
    server.content["/gradle-9.9-bin.zip"] = b"something else"
    point(project, server, hashlib.sha256(b"something else").hexdigest())
    done = run(project)
    assert done.returncode == 1 and "cannot be unpacked" in done.stderr


@pytest.mark.parametrize(
    "content, said",
    [
        (None, "cannot be downloaded"),
        (b"<html>", "cannot be unpacked"),
        (distribution()[:100], "cannot be unpacked"),
        (distribution(script="bin/other"), "holds no Gradle"),
    ],
    ids=["nothing there", "a page", "cut off", "another program"],  # an archive has the time in it
)
def test_what_is_no_gradle_is_told_and_leaves_nothing(server, project, content, said):
    server.content = {} if content is None else {"/gradle-9.9-bin.zip": content}
    point(project, server, content and hashlib.sha256(content).hexdigest())
    done = run(project)
    assert done.returncode == 1 and said in done.stderr
    assert left(project) == []


def test_wget_and_jar_do_where_curl_and_unzip_are_missing(server, project, tmp_path):
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in "sh dirname basename sed tr mkdir mktemp rm mv chmod cut sha256sum wget jar".split():
        if not (path := shutil.which(name)):
            pytest.skip(f"{name} is not installed")
        (tools / name).symlink_to(path)
    assert run(project, "tasks", PATH=str(tools), JAVA_HOME="").stdout == "tasks|"


def test_the_apps_properties_name_a_gradle_and_its_checksum():
    text = (APP / "gradle/wrapper/gradle-wrapper.properties").read_text()
    values = dict(line.split("=", 1) for line in text.splitlines())
    assert values["distributionUrl"] == r"https\://services.gradle.org/distributions/gradle-8.13-bin.zip"
    assert len(bytes.fromhex(values["distributionSha256Sum"])) == 32


def test_both_scripts_are_marked_for_their_systems():
    assert (APP / "gradlew").stat().st_mode & 0o111
    assert (APP / ".gitattributes").read_text() == "gradlew text eol=lf\n*.bat text eol=crlf\n"
