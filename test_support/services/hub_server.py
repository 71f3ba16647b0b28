"""A hub of models on 127.0.0.1: the part of the interface that huggingface_hub uses to upload and download models."""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit


@dataclass
class Repository:
    """Commits by name, each with all of its files, and branches."""

    private: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)

    def commit(self, branch: str, files: dict[str, bytes]) -> str:
        before = self.commits.get(self.branches.get(branch, ""), {})
        name = hashlib.sha1(repr((branch, len(self.commits), sorted(files.items()))).encode()).hexdigest()
        self.commits[name] = before | files
        self.branches[branch] = name
        return name

    def resolve(self, revision: str) -> str | None:
        return self.branches.get(revision) or (revision if revision in self.commits else None)


@dataclass
class Hub:
    """State of the server; tests read and change it.

    Args:
        url: Its address.
        writers: Tokens that may upload.
        requests: Method and path of each request.
    """

    url: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    writers: set[str] = field(default_factory=set)
    readers: set[str] = field(default_factory=set)
    requests: list[str] = field(default_factory=list)


@contextmanager
def running_hub() -> Iterator[Hub]:
    """Serve an empty hub; it ends with the block."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (_Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        return

    @property
    def token(self) -> str:
        return self.headers.get("Authorization", "").removeprefix("Bearer ")

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def answer(self, status: int, content: Any = None, code: str | None = None, **headers: str) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content or {}).encode()
        self.send_response(status)
        if code is not None:
            self.send_header("X-Error-Code", code)
        for name, value in ({"Content-Length": str(len(data))} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(f"{self.command} {path}")
        found = re.fullmatch(r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>.+)", path)
        if found is None:
            self.answer(404)
            return
        repository = self.hub.repositories.get(found["repo"])
        if repository is None or (repository.private and self.token not in self.hub.writers | self.hub.readers):
            self.answer(401 if not self.token else 404, code="RepoNotFound")
            return
        commit = repository.resolve(found["revision"])
        if commit is None:
            self.answer(404, code="RevisionNotFound")
            return
        content = repository.commits[commit].get(found["file"])
        if content is None:
            self.answer(404, code="EntryNotFound", X_Repo_Commit=commit)
            return
        self.answer(200, content, X_Repo_Commit=commit, ETag=f'"{hashlib.sha256(content).hexdigest()}"')

    def do_PUT(self) -> None:
        content = self.body()
        self.hub.requests.append(f"PUT {self.path}")
        self.hub.objects[hashlib.sha256(content).hexdigest()] = content
        self.answer(200)

    def do_POST(self) -> None:
        path, body = unquote(urlsplit(self.path).path), self.body()
        self.hub.requests.append(f"POST {path}")
        if path == "/api/validate-yaml":
            self.answer(200, {"errors": [], "warnings": []})
            return
        if self.token not in self.hub.writers:
            self.answer(403 if self.token else 401)
            return
        if path == "/api/repos/create":
            self._create(json.loads(body))
        elif found := re.fullmatch(r"/(?P<repo>[^/]+/[^/]+)\.git/info/lfs/objects/batch", path):
            objects = json.loads(body)["objects"]
            for one in objects:
                one["actions"] = {"upload": {"href": f"{self.hub.url}/objects/{one['oid']}"}}
            self.answer(200, {"objects": objects})
        elif found := re.fullmatch(r"/api/models/(?P<repo>[^/]+/[^/]+)/(?P<what>\w+)/(?P<revision>.+)", path):
            repository = self.hub.repositories.get(found["repo"])
            if repository is None:
                self.answer(404, code="RepoNotFound")
                return
            getattr(self, f"_{found['what']}")(repository, found["revision"], body)
        else:
            self.answer(404)

    def _create(self, wanted: dict[str, Any]) -> None:
        name = f"{wanted['organization']}/{wanted['name']}"
        if name in self.hub.repositories:
            self.answer(409, {"url": f"{self.hub.url}/{name}"})
            return
        # Releases of huggingface_hub before 1.2 send `private`.
        private = wanted.get("visibility") == "private" or bool(wanted.get("private"))
        self.hub.repositories[name] = repository = Repository(private=private)
        repository.commit("main", {".gitattributes": b""})
        self.answer(200, {"url": f"{self.hub.url}/{name}"})

    def _branch(self, repository: Repository, branch: str, _: bytes) -> None:
        if branch in repository.branches:
            self.answer(409)
            return
        repository.branches[branch] = repository.branches["main"]
        self.answer(200)

    def _preupload(self, repository: Repository, revision: str, body: bytes) -> None:
        if repository.resolve(revision) is None:
            self.answer(404, code="RevisionNotFound")
            return
        names = [one["path"] for one in json.loads(body)["files"]]
        modes = {name: "lfs" if name.endswith(".safetensors") else "regular" for name in names}
        files = [{"path": name, "uploadMode": mode, "shouldIgnore": False} for name, mode in modes.items()]
        self.answer(200, {"files": files})

    def _commit(self, repository: Repository, revision: str, body: bytes) -> None:
        lines = [json.loads(line) for line in body.splitlines()]
        files = {
            line["value"]["path"]: self.hub.objects[line["value"]["oid"]]
            if line["key"] == "lfsFile"
            else base64.b64decode(line["value"]["content"])
            for line in lines
            if line["key"] in ("file", "lfsFile")
        }
        name = repository.commit(revision, files)
        title = next(title for title, one in self.hub.repositories.items() if one is repository)
        self.answer(200, {"commitUrl": f"{self.hub.url}/{title}/commit/{name}", "commitOid": name, "success": True})
