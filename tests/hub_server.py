"""A Hugging Face hub on 127.0.0.1, as much of its HTTP interface as downloading a model, and uploading one, use.

Like the real one it answers with a repository's commit for a revision, lists a commit's files, redirects
large files to another path, and tells its errors by the header X-Error-Code.
"""

import base64
import hashlib
import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

UPLOADED_LARGE = (".task", ".litertlm", ".tflite")  # as the hub has it by default, beside files above 10 MB
LARGE = (".safetensors", ".bin", ".h5", ".msgpack", ".onnx", ".ot")


@dataclass
class Repository:
    """`commits`: commit to {file name: bytes}; `revisions`: branch or tag to commit; `gated`: needs the token."""

    commits: dict[str, dict[str, bytes]]
    revisions: dict[str, str]
    gated: bool = False


@dataclass
class Hub:
    """`requests`: (method, path, Authorization header or None) of each request, in order."""

    repositories: dict[str, Repository] = field(default_factory=dict)
    token: str = "hf_right"
    broken: int | None = None  # an HTTP status to answer everything with
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)
    uploads: dict[str, bytes] = field(default_factory=dict)  # large files, by SHA-256
    url: str = ""
    large_url: str = ""  # the same server by another host name, as the real hub's large files are on another host

    def downloaded(self) -> set[str]:
        """The names of the files whose bytes were asked for."""
        return {
            path.rsplit("/", 1)[1]
            for method, path, _ in self.requests
            if method == "GET" and ("/resolve/" in path or path.startswith("/large/"))
        }


@contextmanager
def running_hub():
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            answer(self, hub)

        do_HEAD = do_GET

        def do_POST(self):
            take(self, hub)

        do_PUT = do_POST

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    hub.url, hub.large_url = (f"http://{host}:{server.server_port}" for host in ("127.0.0.1", "localhost"))
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


def answer(request: BaseHTTPRequestHandler, hub: Hub) -> None:
    path, authorization = unquote(urlsplit(request.path).path), request.headers.get("Authorization")
    hub.requests.append((request.command, path, authorization))
    if hub.broken:
        return send(request, hub.broken)
    if authorization not in (None, f"Bearer {hub.token}"):
        return send(request, 401, {"X-Error-Message": "Invalid credentials in Authorization header"})
    if path.startswith("/large/"):
        name, commit, file = path.removeprefix("/large/").rsplit("/", 2)
        return send(request, 200, body=hub.repositories[name].commits[commit][file])

    parts = parse(path)
    repository = hub.repositories.get(parts[1]) if parts else None
    if repository is None:
        # The hub does not tell strangers whether a repository exists.
        return send(request, 404 if authorization else 401, {"X-Error-Code": "RepoNotFound"} if authorization else {})
    if repository.gated and authorization is None and parts[0] != "info":
        return send(request, 401, {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access to model is restricted."})
    kind, name, revision, file = parts
    commit = repository.revisions.get(revision, revision)
    if commit not in repository.commits:
        return send(request, 404, {"X-Error-Code": "RevisionNotFound"})
    files = repository.commits[commit]
    if kind == "info":
        return send_json(
            request,
            {
                "id": name,
                "modelId": name,
                "sha": commit,
                "private": False,
                "siblings": [{"rfilename": file} for file in files],
            },
        )
    if kind == "tree":
        return send_json(request, [entry(file, data) for file, data in files.items()])
    if file not in files:
        return send(request, 404, {"X-Error-Code": "EntryNotFound"})
    headers = {"X-Repo-Commit": commit, "ETag": f'"{blob_id(files[file])}"'}
    if file.endswith(LARGE):
        headers |= {
            "X-Linked-ETag": f'"{hashlib.sha256(files[file]).hexdigest()}"',
            "X-Linked-Size": str(len(files[file])),
            "Location": f"{hub.large_url}/large/{name}/{commit}/{file}",
        }
        return send(request, 302, headers)
    send(request, 200, headers, files[file])


def take(request: BaseHTTPRequestHandler, hub: Hub) -> None:
    """Answer what an upload asks: make a repository, which files are large, where to, and a commit."""
    path, authorization = unquote(urlsplit(request.path).path), request.headers.get("Authorization")
    hub.requests.append((request.command, path, authorization))
    body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
    if hub.broken:
        return send(request, hub.broken)
    if path.startswith("/large/"):
        hub.uploads[path.removeprefix("/large/")] = body
        return send(request, 200)
    if authorization != f"Bearer {hub.token}":
        return send(request, 401, {"X-Error-Message": "Invalid username or password."})
    if path == "/api/validate-yaml":
        return send_json(request, {"warnings": [], "errors": []})
    if path == "/api/repos/create":
        asked = json.loads(body)
        name = f"{asked['organization']}/{asked['name']}"
        if name in hub.repositories:
            taken = {"error": "You already created this model repo", "url": f"{hub.url}/{name}"}
            return send(request, 409, {"Content-Type": "application/json"}, json.dumps(taken).encode())
        hub.repositories[name] = Repository({}, {})
        return send_json(request, {"url": f"{hub.url}/{name}"})
    if path.endswith(".git/info/lfs/objects/batch"):
        upload = [
            {**file, "actions": {"upload": {"href": f"{hub.large_url}/large/{file['oid']}"}}}
            for file in json.loads(body)["objects"]
        ]
        return send_json(request, {"transfer": "basic", "objects": upload})
    name, kind, revision = path.removeprefix("/api/models/").rsplit("/", 2)
    if kind == "preupload":
        modes = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(UPLOADED_LARGE) else "regular",
                "shouldIgnore": False,
            }
            for file in json.loads(body)["files"]
        ]
        return send_json(request, {"files": modes})
    lines = [json.loads(line) for line in body.splitlines()]
    commit = hashlib.sha1(body).hexdigest()
    hub.repositories[name].commits[commit] = {
        line["value"]["path"]: hub.uploads[line["value"]["oid"]]
        if line["key"] == "lfsFile"
        else base64.b64decode(line["value"]["content"])
        for line in lines
        if line["key"] in ("file", "lfsFile")
    }
    hub.repositories[name].revisions[revision] = commit
    send_json(request, {"commitUrl": f"{hub.url}/{name}/commit/{commit}", "commitOid": commit})


def parse(path: str) -> tuple[str, str, str, str] | None:
    """(kind, repository, revision, file) of a path; kind is info, tree or resolve."""
    if path.startswith("/api/models/"):
        rest = path.removeprefix("/api/models/")
        for kind, mark in (("info", "/revision/"), ("tree", "/tree/")):
            if mark in rest:
                name, revision = rest.split(mark, 1)
                return kind, name, revision, ""
        return "info", rest, "main", ""
    if "/resolve/" in path:
        name, rest = path.lstrip("/").split("/resolve/", 1)
        revision, _, file = rest.partition("/")
        return "resolve", name, revision, file
    return None


def entry(file: str, data: bytes) -> dict:
    described = {"type": "file", "path": file, "size": len(data), "oid": blob_id(data)}
    if file.endswith(LARGE):
        described["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
    return described


def blob_id(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def send_json(request: BaseHTTPRequestHandler, value: object) -> None:
    send(request, 200, {"Content-Type": "application/json"}, json.dumps(value).encode())


def send(
    request: BaseHTTPRequestHandler, status: int, headers: dict[str, str] | None = None, body: bytes = b""
) -> None:
    request.send_response(status)
    for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
        request.send_header(name, value)
    request.end_headers()
    if request.command != "HEAD":
        request.wfile.write(body)
