"""A Hugging Face server on the loopback interface, as far as huggingface_hub needs one to write, and audiolm to read.

It knows one token that may write, keeps what is committed, and checks hashes as the real one does.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

WRITES, READS = "hf_may_write", "hf_may_read"
"""Tokens: one that may write, and one that may not."""
LARGE_BYTES = 4096
"""Files of this size go through LFS; of the real server 10 MB, and weights at any size."""


@dataclass
class HubServer:
    """Holds repositories; a context manager."""

    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    """Files of the branch `main` by their names, by repository."""
    private: set[str] = field(default_factory=set)
    """Repositories that are shown to their owners alone."""
    messages: list[str] = field(default_factory=list)
    """Of all commits."""
    objects: dict[str, bytes] = field(default_factory=dict)
    """Large files by their hashes."""
    requests: list[str] = field(default_factory=list)
    """Method and path of each."""
    fails_at: str = ""
    """A part of a path at which everything is answered with an error of the server."""

    def __enter__(self) -> Self:
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.hub = self
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.005}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    hub: HubServer


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def _answer(self) -> None:
        hub, path = self.server.hub, urlsplit(self.path).path
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = self._read_chunks()
        hub.requests.append(f"{self.command} {path}")
        if hub.fails_at and hub.fails_at in path:
            return self._send(400, {"error": "this server has a bad day"})
        if found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/main/(.+)", path):
            content = hub.repositories.get(found[1], {}).get(found[2])
            return self._send(404 if content is None else 200, content or b"")
        if path.startswith("/upload/"):  # an address that is its own permission
            hub.objects[path.rsplit("/", 1)[1]] = body
            return self._send(200, b"")
        if path == "/api/validate-yaml":
            is_good = json.loads(body)["content"].startswith("---\nlicense: ")
            return self._send(200 if is_good else 400, {"errors": [], "warnings": []})
        return self._write(hub, path, body)

    def _read_chunks(self) -> bytes:
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _write(self, hub: HubServer, path: str, body: bytes) -> None:
        """What only an owner may do."""
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token not in (WRITES, READS):
            return self._send(401, {"error": "Invalid user token."})
        if token == READS:
            return self._send(403, {"error": "Forbidden: you need write permission"})
        values = json.loads(body) if body[:1] == b"{" and b"\n{" not in body else {}
        if path == "/api/repos/create":
            name = "/".join(filter(None, (values.get("organization"), values["name"])))
            if name in hub.repositories:
                return self._send(409, {"error": "You already created this model repo", "url": f"{hub.address}/{name}"})
            hub.repositories[name] = {}
            if values.get("private") or values.get("visibility") == "private":  # by the version of huggingface_hub
                hub.private.add(name)
            return self._send(200, {"url": f"{hub.address}/{name}", "name": name})
        if re.fullmatch(r"/api/models/.+/preupload/main", path):
            files = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["size"] >= LARGE_BYTES else "regular",
                    "shouldIgnore": False,
                }
                for file in values["files"]
            ]
            return self._send(200, {"files": files})
        if path.endswith(".git/info/lfs/objects/batch"):
            wanted = [
                {**one, "actions": {"upload": {"href": f"{hub.address}/upload/{one['oid']}"}}}
                for one in values["objects"]
            ]
            return self._send(200, {"transfer": "basic", "objects": wanted})
        if found := re.fullmatch(r"/api/models/(.+)/commit/main", path):
            return self._commit(hub, found[1], body)
        return self._send(404, {"error": f"nothing at {path}"})

    def _commit(self, hub: HubServer, name: str, body: bytes) -> None:
        files = hub.repositories[name]
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "header":
                hub.messages.append(value["summary"])
            elif line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                content = hub.objects[value["oid"]]
                if hashlib.sha256(content).hexdigest() != value["oid"] or len(content) != value["size"]:
                    return self._send(400, {"error": "the upload has another hash"})
                files[value["path"]] = content
        oid = hashlib.sha1(body).hexdigest()
        return self._send(200, {"commitUrl": f"{hub.address}/{name}/commit/{oid}", "commitOid": oid, "success": True})

    def _send(self, status: int, content: bytes | dict[str, Any]) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.send_header(
            "Content-Type", "application/octet-stream" if isinstance(content, bytes) else "application/json"
        )
        if isinstance(content, dict) and "error" in content:
            self.send_header("X-Error-Message", content["error"])
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
