"""The page is served to this machine alone, and nothing but the page."""

import http.client
import json
import os
import re
import shutil
import socket
import struct
import subprocess
import time

import pytest

from bundler.errors import BundleError
from bundler.web import runtime as web_runtime
from bundler.web.export import write_site
from bundler.web.runtime import ENGINE_PACKAGE, PAGE, install_runtime, missing_runtime, runtime_folder
from bundler.web.server import ServedBundle, Site, serve, site


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The site of one bundle, with an empty file in the place of each of npm's."""
    folder = tmp_path_factory.mktemp("site")
    engine = folder / "node_modules" / ENGINE_PACKAGE
    (engine / "wasm").mkdir(parents=True)
    for name in ("genai_bundle.mjs", "wasm/genai_wasm_internal.js", "wasm/genai_wasm_internal.wasm"):
        (engine / name).write_text("")
    bundle = folder / "some.task"
    bundle.write_bytes(bytes(range(256)) * 9000)
    (folder / "secret.txt").write_text("secret")
    return site(folder, [ServedBundle(bundle, "some", 96)], "a prompt")


@pytest.fixture(scope="module")
def address(pages):
    with serve(pages) as address:
        yield address


def ask(address, path, method="GET", **headers):
    """Status, headers and body of a request with exactly these headers."""
    port = int(re.search(r":(\d+)/", address)[1])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    for name, value in {"Host": f"127.0.0.1:{port}", **headers}.items():
        if value is not None:
            connection.putheader(name.replace("_", "-"), value)
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, answer.headers, body


def test_the_page_and_its_bundle(address):
    status, headers, body = ask(address, "/")
    assert (
        status == 200 and b"<title>task-bundler try" in body and headers["Content-Type"] == "text/html; charset=utf-8"
    )
    assert (
        "default-src 'self'" in headers["Content-Security-Policy"]
        and "unsafe-inline" not in headers["Content-Security-Policy"]
    )
    status, headers, body = ask(address, "/bundles/0.task?again")
    assert status == 200 and body == bytes(range(256)) * 9000 and headers["Content-Length"] == str(len(body))
    served = json.loads(ask(address, "/bundles.json")[2])
    assert (
        served["prompt"] == "a prompt"
        and served["bundles"][0]["url"] == "bundles/0.task"
        and served["bundles"][0]["context"] == 96
    )
    assert "path" not in served["bundles"][0]  # nobody's business


def test_an_adapter_is_merged_when_it_is_chosen_and_a_failure_is_an_answer(pages, tmp_path):
    (tmp_path / "plain.task").write_bytes(b"plain")
    (tmp_path / "merged.task").write_bytes(b"merged")
    made = []

    def make():
        made.append(1)
        return tmp_path / "merged.task"

    def fail():
        raise BundleError("no room")

    bundle = ServedBundle(tmp_path / "plain.task", "plain", 96, {"pirate": make, "broken": fail})
    packages = pages.files["/runtime/genai_bundle.mjs"].parents[3]
    with serve(site(packages, [bundle])) as address:
        adapters = json.loads(ask(address, "/bundles.json")[2])["bundles"][0]["adapters"]
        assert [entry["name"] for entry in adapters] == ["pirate", "broken"] and not made
        assert ask(address, f"/{adapters[0]['url']}")[2] == b"merged" and made
        assert ask(address, f"/{adapters[1]['url']}")[0] == 500 and ask(address, "/bundles/0.task")[2] == b"plain"


def test_the_page_as_files(pages, tmp_path):
    """What a host serves from the folder is what the server answers, and the headers are the server's."""
    written = write_site(pages, tmp_path)
    with serve(pages) as address:
        for url in pages.files:
            path = tmp_path / ("index.html" if url == "/" else url[1:])
            status, headers, body = ask(address, url)
            assert path in written and path.read_bytes() == body
    lines = (tmp_path / "_headers").read_text().splitlines()
    assert lines[0] == "/*" and "Cache-Control" not in str(lines)
    for line in lines[1:]:
        name, value = line.strip().split(": ", 1)
        assert headers[name] == value
        assert f'add_header {name} "{value}";' in (tmp_path / "README.md").read_text()


def test_head_is_get_without_the_body(address):
    status, headers, body = ask(address, "/bundles/0.task", "HEAD")
    assert (status, headers["Content-Length"], body) == (200, str(256 * 9000), b"")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "CONNECT"])
def test_other_methods_are_refused(address, method):
    assert ask(address, "/", method)[0] == 501


@pytest.mark.parametrize(
    "path",
    [
        "/secret.txt",
        "/../secret.txt",
        "/bundles/../../secret.txt",
        "/bundles/",
        "/bundles",
        "/runtime/",
        "/bundles/1.task",
        "/bundles/-1.task",
        "/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "//etc/passwd",
        "/etc/passwd",
        "/package.json",
        "/drive.mjs",
        "/index.html",
        "http://127.0.0.1/",
        "*",
        "/\\..\\x",
    ],
)
def test_only_what_is_in_the_table_is_served(address, path):
    assert ask(address, path)[0] == 404


@pytest.mark.parametrize(
    "host",
    [
        "example.org",
        "example.org:{port}",
        "127.0.0.1",
        "127.0.0.1:1",
        "127.0.0.1.example.org:{port}",
        "[::1]:{port}",
        "",
        None,
        "localhost:{port}@example.org",
    ],
)
def test_a_name_that_is_not_ours_is_refused(address, host):
    """A page of another site, whose name was made to point at 127.0.0.1, sends that name."""
    port = re.search(r":(\d+)/", address)[1]
    assert ask(address, "/bundles/0.task", Host=host and host.format(port=port))[0] == 421
    assert ask(address, "/bundles/0.task", Host=f"localhost:{port}")[0] == 200


@pytest.mark.parametrize(
    "site_, status", [("none", 200), ("same-origin", 200), ("same-site", 403), ("cross-site", 403)]
)
def test_other_pages_cannot_load_a_bundle(address, site_, status):
    assert ask(address, "/bundles/0.task", Sec_Fetch_Site=site_)[0] == status


def test_a_taken_port_is_said(pages, address):
    with (
        pytest.raises(BundleError, match="cannot be used.*give another, or 0"),
        serve(pages, int(re.search(r":(\d+)/", address)[1])),
    ):
        pass


def test_a_missing_file_is_said(tmp_path):
    with pytest.raises(BundleError, match="genai_bundle.mjs: no such file"):
        site(tmp_path, [])


def test_everything_the_page_asks_for_is_served_and_nothing_is_outside(pages):
    for path in PAGE.iterdir():
        if path.suffix in (".html", ".js", ".css"):
            text = path.read_text(encoding="utf-8")
            assert not re.search(r"https?://(?!www\.w3\.org/)", text), path
            for name in re.findall(r"""(?:src|href|from|import)[=( ]+["'](?:\./)?([\w./-]+\.\w+)["']""", text):
                assert f"/{name}" in pages.files, f"{path.name} asks for {name}"


def test_the_lock_names_versions_and_no_registry():
    lock, package = (
        json.loads((PAGE / "package-lock.json").read_text()),
        json.loads((PAGE / "package.json").read_text()),
    )
    locked = {name.removeprefix("node_modules/"): entry for name, entry in lock["packages"].items() if name}
    assert {name: entry["version"] for name, entry in locked.items()} == package["dependencies"]
    assert all("resolved" not in entry and entry["integrity"].startswith("sha512-") for entry in locked.values())


def test_npm_is_asked_for_only_when_it_is_needed(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "")
    assert "npm is not installed" in missing_runtime()
    with pytest.raises(BundleError, match="npm is not installed"):
        install_runtime()
    runtime_folder().mkdir(parents=True)
    assert missing_runtime() is None and install_runtime() == runtime_folder()


def test_a_failed_installation_leaves_nothing(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\necho half > half; echo 'no network' >&2; exit 3\n")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(BundleError, match="npm ci ended with 3.*\n.*no network"):
        web_runtime.install_runtime()
    assert not list((tmp_path / "cache" / "task-bundler").iterdir())


@pytest.fixture
def growing(tmp_path, pages):
    """A bundle of 48 MB, more than a connection holds, under a name that no header can carry: (file, address)."""
    path = tmp_path / "名\r\nX-Evil: 1\udcff.task"
    with open(path, "wb") as stream:
        stream.truncate(48 << 20)
    with serve(Site({**pages.files, "/bundles/0.task": path})) as address:
        yield path, address


def begin(address):
    """A connection that asked for the bundle and read the first MB of it: (connection, answer)."""
    connection = http.client.HTTPConnection("127.0.0.1", int(re.search(r":(\d+)/", address)[1]), timeout=30)
    connection.request("GET", "/bundles/0.task")
    answer = connection.getresponse()
    assert len(answer.read(1 << 20)) == 1 << 20
    return connection, answer


def test_a_bundle_that_is_cut_short_while_it_is_sent_ends_the_connection(growing, capfd):
    path, address = growing
    connection, answer = begin(address)
    os.truncate(path, 4 << 20)
    with pytest.raises(http.client.IncompleteRead):
        answer.read()
    connection.close()
    status, headers, body = ask(address, "/bundles/0.task")
    assert (status, headers["Content-Length"], len(body)) == (200, str(4 << 20), 4 << 20)
    assert capfd.readouterr().err == ""


def test_a_bundle_that_grows_while_it_is_sent_is_as_long_as_was_announced(growing):
    path, address = growing
    connection, answer = begin(address)
    with open(path, "ab") as stream:
        stream.write(b"more" * (1 << 18))  # more than a reader takes in advance
    assert len(answer.read()) == 47 << 20
    connection.request("GET", "/bundles.json")  # what is read next is an answer, not the rest of the file
    assert connection.getresponse().status == 200
    connection.close()


def test_a_bundle_that_is_gone_is_said_and_the_server_serves_on(growing, capfd):
    path, address = growing
    path.unlink()
    status, headers, body = ask(address, "/bundles/0.task")
    assert status == 404 and b"no longer" in body and "X-Evil" not in headers
    path.mkdir()
    assert ask(address, "/bundles/0.task")[0] == 404 and ask(address, "/")[0] == 200
    assert capfd.readouterr().err == ""


def test_a_browser_that_leaves_is_no_traceback(growing, capfd):
    _, address = growing
    connection, _ = begin(address)
    # A reset in place of a goodbye.
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.sock.close()
    idle = socket.create_connection(("127.0.0.1", int(re.search(r":(\d+)/", address)[1])))
    idle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    idle.send(b"GET ")
    idle.close()
    assert ask(address, "/")[0] == 200
    time.sleep(0.5)
    assert capfd.readouterr().err == ""


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node: apt-get install nodejs")
@pytest.mark.parametrize(
    "raw, expected",
    [
        ("Failed to fetch model: /bundles/0.task ended early", "cut short while it was read"),
        ("Failed to fetch model: /bundles/0.task (404)", "no longer where it was"),
        ("TypeError: Failed to fetch", "Is task-bundler try still running"),
    ],
)
def test_the_page_says_what_became_of_its_bundle(raw, expected):
    script = (
        f"import {{ explain }} from {json.dumps((PAGE / 'explain.js').as_uri())}; "
        f"console.log(explain({json.dumps(raw)}, []));"
    )
    done = subprocess.run(["node", "--input-type=module", "-e", script], capture_output=True, text=True, timeout=60)
    assert expected in done.stdout, done.stderr
