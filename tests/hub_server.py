"""A small hub on this machine: the endpoints of the Hugging Face hub that a mask needs, over real HTTP.

It takes safetensors as LFS objects, as the real hub does. What it leaves out: xet storage, tokens and rights, and all
that the real hub refuses.
"""

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

Files = dict[str, bytes]


@dataclass
class Hub:
    """What the server holds: the files of each commit, and the commit of each branch, by repository."""

    url: str = ""
    branches: dict[str, dict[str, str]] = field(default_factory=dict)
    commits: dict[str, Files] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)

    def create(self, repo: str) -> None:
        if repo not in self.branches:
            self.branches[repo] = {}
            self.commit(repo, "main", {})

    def commit(self, repo: str, branch: str, files: Files) -> str:
        before = self.commits.get(self.branches[repo].get(branch, ""), {})
        after = {**before, **files}
        described = [branch, repo, *sorted(f"{name}{hashlib.sha256(data).hexdigest()}" for name, data in after.items())]
        sha = hashlib.sha1("".join(described).encode(), usedforsecurity=False).hexdigest()
        self.commits[sha], self.branches[repo][branch] = after, sha
        return sha

    def at(self, repo: str, revision: str) -> tuple[str, Files] | None:
        sha = self.branches.get(repo, {}).get(revision, revision)
        return (sha, self.commits[sha]) if sha in self.commits else None


@contextmanager
def running_hub() -> Iterator[Hub]:
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = Thread(target=server.serve_forever, daemon=True)
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
        self.hub.requests.append(format % args)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path == "/api/repos/create":
            asked = json.loads(body)
            repo = "/".join(part for part in (asked.get("organization"), asked["name"]) if part)
            self.hub.create(repo)
            self._json({"url": f"{self.hub.url}/{repo}"})
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/branch/([^/]+)", self.path):
            repo, branch = match.groups()
            self.hub.branches[repo].setdefault(branch, self.hub.branches[repo]["main"])
            self._json({})
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/preupload/([^/]+)", self.path):
            names = [file["path"] for file in json.loads(body)["files"]]
            modes = ["lfs" if name.endswith(".safetensors") else "regular" for name in names]
            files = [
                {"path": name, "uploadMode": mode, "shouldIgnore": False}
                for name, mode in zip(names, modes, strict=True)
            ]
            self._json({"files": files})
        elif re.fullmatch(r"/[^/]+/[^/]+\.git/info/lfs/objects/batch", self.path):
            objects = [
                {**entry, "actions": {"upload": {"href": f"{self.hub.url}/lfs/{entry['oid']}", "header": {}}}}
                for entry in json.loads(body)["objects"]
            ]
            self._json({"transfer": "basic", "objects": objects})
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/([^/]+)", self.path):
            self._commit(match[1], match[2], [json.loads(line) for line in body.splitlines() if line])
        elif self.path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        else:
            self._none("Entry")

    def do_PUT(self) -> None:
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.hub.objects[hashlib.sha256(data).hexdigest()] = data
        self._json({})

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        match = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self.path)
        if match is None or match[1] not in self.hub.branches:
            return self._none("Repo")
        found = self.hub.at(match[1], match[2])
        if found is None:
            return self._none("Revision")
        sha, files = found
        if match[3] not in files:
            return self._none("Entry")
        data = files[match[3]]
        self._send(200, data, {"X-Repo-Commit": sha, "ETag": f'"{hashlib.sha256(data).hexdigest()}"'})
        return None

    def _commit(self, repo: str, branch: str, lines: list[dict[str, Any]]) -> None:
        files = {}
        for line in lines:
            if line["key"] == "file":
                files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            elif line["key"] == "lfsFile":
                files[line["value"]["path"]] = self.hub.objects[line["value"]["oid"]]
        sha = self.hub.commit(repo, branch, files)
        self._json({"success": True, "commitOid": sha, "commitUrl": f"{self.hub.url}/{repo}/commit/{sha}"})

    def _none(self, what: str) -> None:
        body = json.dumps({"error": f"{what} not found"}).encode()
        self._send(404, body, {"X-Error-Code": f"{what}NotFound", "X-Error-Message": f"{what} not found"})

    def _json(self, value: object) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, text in headers.items():
            self.send_header(name, text)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
