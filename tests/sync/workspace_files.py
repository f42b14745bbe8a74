"""Where the stand-in workspace keeps artifacts: the Files API, and storage that is reached by signed URLs only."""

from __future__ import annotations

import json
import re
import threading
import time
import uuid
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from tests.sync.front import Answer, Request
from tests.sync.stand_in import Refusal

LONGEST_PATHS_COUNT: Final = 2000
"""Paths in one request for signed URLs."""
_FILES: Final = "/api/2.0/fs/files"
_DIRECTORIES: Final = "/api/2.0/fs/directories"


class WorkspaceFiles:
    """Files by absolute path, and the two ways to them.

    Args:
        has_files_api: Whether the Files API lets these paths through.
        cloud: The type of signed URLs. Each wants its own header, as the storage of that cloud does.
        url_s: How long a signed URL lasts.
    """

    def __init__(self, *, has_files_api: bool, cloud: str, url_s: float = 900.0) -> None:
        self.has_files_api = has_files_api
        self.cloud = cloud
        self.url_s = url_s
        self.content: dict[str, bytes] = {}
        self.lock = threading.Lock()
        self._blocks: dict[str, dict[str, bytes]] = {}
        self._signed: dict[str, tuple[str, str, float]] = {}

    # -- Files API

    def answer(self, request: Request, path: str, query: dict[str, list[str]]) -> Answer:
        """Answer a request to `/api/2.0/fs/…`."""
        if not self.has_files_api:
            raise Refusal(403, "PERMISSION_DENIED", "You do not have access to this path through the Files API.")
        with self.lock:
            if path.startswith(_DIRECTORIES):
                return self._answer_directory(request, path[len(_DIRECTORIES) :].rstrip("/"))
            return self._answer_file(request, path[len(_FILES) :], query)

    def _answer_file(self, request: Request, path: str, query: dict[str, list[str]]) -> Answer:
        if request.method == "PUT":
            if path in self.content and query.get("overwrite") != ["true"]:
                raise Refusal(409, "ALREADY_EXISTS", f"The file being created already exists: {path}")
            self.content[path] = request.body
            return Answer(204, b"")
        if path not in self.content:
            raise Refusal(404, "NOT_FOUND", f"The file being accessed is not found: {path}")
        if request.method == "DELETE":
            del self.content[path]
            return Answer(204, b"")
        headers = (("Content-Type", "application/octet-stream"), ("Last-Modified", "Tue, 24 Nov 2026 12:00:00 GMT"))
        return Answer(200, self.content[path], headers)

    def _answer_directory(self, request: Request, path: str) -> Answer:
        below = sorted(name[len(path) + 1 :] for name in self.content if name.startswith(f"{path}/"))
        if request.method == "PUT":
            return Answer(204, b"")
        if not below:
            raise Refusal(404, "NOT_FOUND", f"The directory being accessed is not found: {path}")
        found: dict[str, dict[str, Any]] = {}
        for name in below:
            first, is_folder = name.partition("/")[0], "/" in name
            entry: dict[str, Any] = {"path": f"{path}/{first}", "name": first, "is_directory": is_folder}
            if not is_folder:
                entry["file_size"] = len(self.content[f"{path}/{first}"])
            found.setdefault(first, entry)
        return Answer(200, json.dumps({"contents": list(found.values())}).encode())

    # -- signed URLs

    def sign(self, paths: list[str], root: str, *, method: str, base_url: str) -> list[dict[str, Any]]:
        """Return a signed URL for each path below a root."""
        if len(paths) > LONGEST_PATHS_COUNT:
            raise Refusal(400, "INVALID_PARAMETER_VALUE", f"At most {LONGEST_PATHS_COUNT} paths may be given.")
        found = []
        with self.lock:
            for path in paths:
                name = uuid.uuid4().hex
                self._signed[name] = (f"{root}/{path}", method, time.monotonic() + self.url_s)
                headers = [] if self.cloud == "AZURE_SAS_URI" else [{"name": "x-signed", "value": name}]
                signed_uri = f"{base_url}/presigned/{name}?signature=secret"
                found.append({"path": path, "signed_uri": signed_uri, "type": self.cloud, "headers": headers})
        return found

    def answer_signed(self, request: Request, path: str) -> Answer:
        """Answer as the cloud's storage does, which knows nothing of the workspace's tokens."""
        if "authorization" in request.headers:
            raise Refusal(400, "InvalidArgument", "Only one auth mechanism allowed")
        name = path.removeprefix("/presigned/")
        with self.lock:
            target, method, until_s = self._signed.get(name, ("", "", 0.0))
            if not target or time.monotonic() > until_s:
                raise Refusal(403, "AccessDenied", "Request has expired")
            if request.method != method:
                raise Refusal(403, "SignatureDoesNotMatch", "The method is not the signed one.")
            if self.cloud == "AZURE_SAS_URI":
                query = parse_qs(urlsplit(request.path).query)
                if method == "PUT" and "comp" in query:
                    return self._take_block(request, target, query)
                if method == "PUT" and request.headers.get("x-ms-blob-type") != "BlockBlob":
                    raise Refusal(400, "MissingRequiredHeader", "x-ms-blob-type")
            elif request.headers.get("x-signed") != name:
                raise Refusal(403, "SignatureDoesNotMatch", "A signed header is missing.")
            if method == "PUT":
                if "chunked" in request.headers.get("transfer-encoding", "").lower():
                    raise Refusal(501, "NotImplemented", "A header implies functionality that is not implemented.")
                self.content[target] = request.body
                return Answer(200, b"", (("ETag", f'"{name}"'),))
            if target not in self.content:
                raise Refusal(404, "NoSuchKey", "The specified key does not exist.")
            return Answer(200, self.content[target], (("Content-Type", "application/octet-stream"),))

    def _take_block(self, request: Request, target: str, query: dict[str, list[str]]) -> Answer:
        """Take a block of a blob, or the list of blocks that makes the blob of them, as Azure's storage does."""
        if query["comp"] == ["block"]:
            self._blocks.setdefault(target, {})[query["blockid"][0]] = request.body
        else:
            names = re.findall(r"<(?:Uncommitted|Latest)>([^<]*)<", request.body.decode())
            self.content[target] = b"".join(self._blocks[target][name] for name in names)
        return Answer(201, b"")

    # -- listing, for `artifacts/list`

    def list(self, root: str, path: str) -> list[dict[str, Any]]:
        """Return files and folders one level below a path of a root, relative to the root."""
        folder = f"{root}/{path}".rstrip("/")
        with self.lock:
            if folder in self.content:
                return [{"path": path, "is_dir": False, "file_size": len(self.content[folder])}]
            found: dict[str, dict[str, Any]] = {}
            for name in sorted(name for name in self.content if name.startswith(f"{folder}/")):
                first, _, rest = name[len(folder) + 1 :].partition("/")
                row: dict[str, Any] = {"path": f"{path}/{first}".lstrip("/"), "is_dir": bool(rest)}
                if not rest:
                    row["file_size"] = len(self.content[name])
                found.setdefault(first, row)
        return list(found.values())
