"""A web server for one page on this machine: the files of bundler/web, MediaPipe's engine, and the given bundles.

It answers on the loopback interface only, and only requests that name it by a loopback name: a page of another
site whose name is made to point here (DNS rebinding) is refused. What it serves is a fixed table of URLs, so
there are no paths to escape from and nothing to list.
"""

from __future__ import annotations

import json
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Callable, Iterator, Mapping, Sequence

from bundler.errors import BundleError
from bundler.web.runtime import ENGINE_PACKAGE, PAGE, runtime_version

LOOPBACK = "127.0.0.1"
CHUNK = 1 << 20
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".wasm": "application/wasm",
    ".json": "application/json",
    ".svg": "image/svg+xml",
}
BINARY = "application/octet-stream"
# Nothing from anywhere else; `wasm-unsafe-eval` lets WebAssembly compile, and nothing more.
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; object-src 'none'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


Content = Path | bytes | Callable[[], Path]


@dataclass(frozen=True)
class ServedBundle:
    """A bundle on the page: its file, what to call it, and its context in tokens if it is known.

    `merged`: by the name of an adapter, what makes the file with it merged when the page asks for it.
    """

    path: Path
    name: str
    context: int | None = None
    merged: Mapping[str, Callable[[], Path]] = field(default_factory=dict)


@dataclass(frozen=True)
class Site:
    """URL -> file, bytes made up here, or what gives the file."""

    files: dict[str, Content]

    def content_type(self, url: str) -> str:
        return TYPES.get(Path("index.html" if url == "/" else url).suffix, BINARY)


def bundle_url(index: int, adapter: int | None = None) -> str:
    """Where a bundle is, or the same with its adapter of that number merged."""
    return f"/bundles/{index}.task" if adapter is None else f"/bundles/{index}-{adapter}.task"


def site(packages: Path, bundles: Sequence[ServedBundle], prompt: str = "") -> Site:
    """The whole table. `packages` holds node_modules; `prompt` is what the page starts with. Raises BundleError when a
    file of it is missing.
    """
    engine = packages / "node_modules" / ENGINE_PACKAGE
    files: dict[str, Content] = {
        f"/{path.name}": path for path in PAGE.iterdir() if path.suffix in (".html", ".css", ".js", ".svg")
    }
    files["/"] = files.pop("/index.html")
    files["/runtime/genai_bundle.mjs"] = engine / "genai_bundle.mjs"
    for path in sorted((engine / "wasm").glob("genai_wasm*")):
        files[f"/runtime/wasm/{path.name}"] = path
    shown = [
        {
            "name": bundle.name,
            "context": bundle.context,
            # Relative: the page may be put into a folder of a web host.
            "url": bundle_url(index)[1:],
            "bytes": bundle.path.stat().st_size,
            "adapters": [
                {"name": name, "url": bundle_url(index, number)[1:]} for number, name in enumerate(bundle.merged)
            ],
        }
        for index, bundle in enumerate(bundles)
    ]
    for index, bundle in enumerate(bundles):
        files |= {bundle_url(index, number): make for number, make in enumerate(bundle.merged.values())}
    files["/bundles.json"] = json.dumps({"engine": runtime_version(), "prompt": prompt, "bundles": shown}).encode()
    files |= {bundle_url(index): bundle.path for index, bundle in enumerate(bundles)}
    for file in files.values():
        if isinstance(file, Path) and not file.is_file():
            raise BundleError(
                f"{file}: no such file; expected it among the installed packages: remove {packages} and try again"
            )
    return Site(files)


@contextmanager
def serve(pages: Site, port: int = 0) -> Iterator[str]:
    """Serve while the block runs; yields the address, `http://127.0.0.1:PORT/`. Port 0 takes a free one.

    Raises BundleError when the port is taken.
    """
    try:
        server = _Server((LOOPBACK, port), _handler(pages))
    except (OSError, OverflowError) as error:
        raise BundleError(
            f"port {port} cannot be used ({getattr(error, 'strerror', None) or error}); give another, or 0 for any "
            "free one"
        ) from error
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
    thread.start()
    try:
        yield f"http://{LOOPBACK}:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exception(), OSError):  # a browser that leaves is no error of ours
            super().handle_error(request, client_address)


def _handler(pages: Site) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        server_version, sys_version = "task-bundler", ""
        timeout = 120  # seconds that a silent connection is kept

        def do_GET(self) -> None:
            self._answer(send_body=True)

        def do_HEAD(self) -> None:
            self._answer(send_body=False)

        def _answer(self, send_body: bool) -> None:
            if self.headers.get_all("Host") not in (
                [f"{host}:{self.server.server_port}"] for host in (LOOPBACK, "localhost")
            ):
                return self.send_error(
                    HTTPStatus.MISDIRECTED_REQUEST, "This server answers to 127.0.0.1 and localhost only"
                )
            if self.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
                return self.send_error(HTTPStatus.FORBIDDEN, "This server answers its own page only")
            content = pages.files.get(self.path.partition("?")[0])
            if content is None:
                return self.send_error(HTTPStatus.NOT_FOUND)
            if callable(content):
                try:
                    content = content()
                except BundleError:  # which the maker has told the user
                    return self.send_error(HTTPStatus.INTERNAL_SERVER_ERROR, "The file could not be made")
            try:
                self._send(content, send_body)
            except OSError:
                self.close_connection = True  # the browser has left, or sees that less came than was announced

        def _send(self, content: Path | bytes, send_body: bool) -> None:
            if isinstance(content, bytes):
                self._head(len(content))
                if send_body:
                    self.wfile.write(content)
                return
            try:
                stream = open(content, "rb")
            except OSError:
                return self.send_error(
                    HTTPStatus.NOT_FOUND, "The file can no longer be read"
                )  # its name may be no header
            with stream:
                left = stream.seek(0, 2)
                self._head(left)
                stream.seek(0)
                # What was announced and no more, should the file grow meanwhile.
                while send_body and left:
                    chunk = stream.read(min(CHUNK, left))
                    if not chunk:
                        raise OSError("the file was cut short")
                    self.wfile.write(chunk)
                    left -= len(chunk)

        def _head(self, length: int) -> None:
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", pages.content_type(self.path.partition("?")[0]))
            self.send_header("Content-Length", str(length))
            self.end_headers()

        def end_headers(self) -> None:
            for name, value in HEADERS.items():
                self.send_header(name, value)
            super().end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler
