"""A stand-in for a Databricks workspace, as far as tracking goes: signing in, rates, folders, and what lies behind.

Made from the documented API, and from what users quote of its errors; nobody has held it against a real workspace.
`test_workspace.py` holds it against the clients that talk to one: MLflow's own, and databricks-sdk. Pass it to `Front`.

Documented, or quoted word for word: paths and fields; the texts about names, parents, metric steps, metrics of models
and throttling; the limits. By analogy only: the texts of the other quotas, and the exact rates' bookkeeping.
"""

from __future__ import annotations

import base64
import gzip
import json
import time
import uuid
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

from tests.sync.front import Answer, Request
from tests.sync.stand_in import Refusal
from tests.sync.workspace_files import WorkspaceFiles
from tests.sync.workspace_tracking import Quotas, WorkspaceTracking

Rates = dict[str, float]
"""Requests a second by group: `search`, `batch`, `management` (list, update, delete, restore), `other`."""

DOCUMENTED_RATES: Final[Rates] = {"management": 7, "search": 7, "batch": 47, "other": 127}
_MANAGEMENT: Final = ("experiments/list", "experiments/update", "experiments/delete", "experiments/restore")
THROTTLED: Final = "Too many requests. Please wait a moment and try again."


@dataclass
class SignIn:
    """Who may sign in, and how."""

    tokens: dict[str, str] = field(default_factory=lambda: {"dapi-good": "ada@example.com"})
    """Personal access tokens, and whose they are."""
    clients: dict[str, tuple[str, str]] = field(default_factory=dict)
    """OAuth, machine to machine: client id → (secret, name)."""
    token_s: float = 3600.0
    """How long a token lasts that OAuth gave."""


class Workspace:
    """The workspace's state, and what it does with a request.

    Args:
        sign_in: Who may.
        quotas: Limits of tracking.
        rates: Requests a second; none are throttled by default.
        retry_after_s: What a throttled answer says to wait; None: nothing, as Databricks documents nothing.
        has_files_api: Whether artifacts may be written through the Files API; else it answers 403.
        cloud: Whose URLs are signed: `AWS_PRESIGNED_URL`, `AZURE_SAS_URI`, `GCP_SIGNED_URL`.
        appends_duplicates: A point that is sent again is kept once more.
    """

    def __init__(
        self,
        *,
        sign_in: SignIn | None = None,
        quotas: Quotas | None = None,
        rates: Rates | None = None,
        retry_after_s: float | None = None,
        has_files_api: bool = True,
        cloud: str = "AWS_PRESIGNED_URL",
        appends_duplicates: bool = False,
    ) -> None:
        self.sign_in = sign_in or SignIn()
        self.rates = rates or {}
        self.retry_after_s = retry_after_s
        self.files = WorkspaceFiles(has_files_api=has_files_api, cloud=cloud)
        self.tracking = WorkspaceTracking(self.files, quotas or Quotas(), appends_duplicates=appends_duplicates)
        self.seen: Counter[str] = Counter()
        """Requests by method and route, without those that were throttled or not signed in."""
        self.throttled_count = 0
        self._granted: dict[str, tuple[str, float]] = {}
        self._recent: dict[str, deque[float]] = {}

    def __call__(self, request: Request) -> Answer:
        parts = urlsplit(request.path)
        path = unquote(parts.path)
        base_url = f"http://{request.headers.get('host', '')}"
        try:
            if path.startswith("/presigned/"):
                return self.files.answer_signed(request, path)
            public = self._answer_public(request, path, base_url)
            if public is not None:
                return _json(public)
            user = self._require_user(request)
            throttled = self._throttle(path)
            if throttled is not None:
                return throttled
            self.seen[f"{request.method} {path}"] += 1
            if path.startswith("/api/2.0/fs/"):
                return self.files.answer(request, path, parse_qs(parts.query))
            return _json(self._answer(request, path, parts.query, user=user, base_url=base_url))
        except Refusal as refusal:
            body = {"error_code": refusal.code, "message": str(refusal)}
            return Answer(refusal.status, json.dumps(body).encode())

    # -- signing in

    def _answer_public(self, request: Request, path: str, base_url: str) -> dict[str, Any] | None:
        if path == "/.well-known/databricks-config":
            return {"oidc_endpoint": f"{base_url}/oidc", "workspace_id": "1234567890"}
        if path == "/oidc/.well-known/oauth-authorization-server":
            return {
                "authorization_endpoint": f"{base_url}/oidc/v1/authorize",
                "token_endpoint": f"{base_url}/oidc/v1/token",
            }
        if path == "/oidc/v1/token" and request.method == "POST":
            return self._grant(request)
        return None

    def _grant(self, request: Request) -> dict[str, Any]:
        form = {key: values[0] for key, values in parse_qs(request.body.decode()).items()}
        client_id, secret = form.get("client_id", ""), form.get("client_secret", "")
        scheme, _, value = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "basic":
            client_id, _, secret = base64.b64decode(value).decode().partition(":")
        known = self.sign_in.clients.get(client_id)
        if known is None or known[0] != secret:
            raise Refusal(401, "invalid_client", "Client authentication failed")
        if form.get("grant_type") != "client_credentials":
            raise Refusal(400, "unsupported_grant_type", "grant_type must be client_credentials")
        token = f"oauth-{uuid.uuid4().hex}"
        self._granted[token] = (known[1], time.monotonic() + self.sign_in.token_s)
        return {"access_token": token, "token_type": "Bearer", "scope": "all-apis", "expires_in": self.sign_in.token_s}

    def _require_user(self, request: Request) -> str:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Refusal(401, "UNAUTHENTICATED", "Credential was not sent or was of an unsupported type for this API.")
        if token in self.sign_in.tokens:
            return self.sign_in.tokens[token]
        user, until_s = self._granted.get(token, ("", 0.0))
        if not user:
            raise Refusal(403, "PERMISSION_DENIED", "Invalid access token.")
        if time.monotonic() > until_s:
            raise Refusal(401, "UNAUTHENTICATED", "Access token is expired.")
        return user

    # -- rates

    def _throttle(self, path: str) -> Answer | None:
        name = path.partition("/mlflow/")[2]
        group = "other"
        if name.endswith("/search"):
            group = "search"
        elif name == "runs/log-batch":
            group = "batch"
        elif name in _MANAGEMENT:
            group = "management"
        limit = self.rates.get(group)
        if limit is None:
            return None
        recent, now_s = self._recent.setdefault(group, deque()), time.monotonic()
        while recent and now_s - recent[0] >= 1.0:
            recent.popleft()
        if len(recent) < limit:
            recent.append(now_s)
            return None
        self.throttled_count += 1
        headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/json"),)
        if self.retry_after_s is not None:
            headers += (("Retry-After", f"{self.retry_after_s:g}"),)
        return Answer(429, json.dumps({"error_code": "RESOURCE_EXHAUSTED", "message": THROTTLED}).encode(), headers)

    # -- what lies behind

    def _answer(self, request: Request, path: str, query: str, *, user: str, base_url: str) -> dict[str, Any]:
        fields = parse_qs(query)
        body = request.body
        if request.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        document = json.loads(body) if body else {key: values[0] for key, values in fields.items()}
        if path == "/api/2.0/preview/scim/v2/Me":
            return {"id": "1", "userName": user, "displayName": user.partition("@")[0]}
        if path == "/api/2.0/workspace/mkdirs":
            return self.tracking.folders.make(document["path"], user=user)
        if path == "/api/2.0/workspace/get-status":
            return self.tracking.folders.status(document["path"])
        name = path.partition("/api/2.0/mlflow/")[2]
        if not name:
            raise Refusal(404, "ENDPOINT_NOT_FOUND", f"No API found for '{request.method} {path}'")
        with self.tracking.lock:
            return self.tracking.answer(request.method, name, document, fields, user=user, base_url=base_url)


def _json(document: dict[str, Any]) -> Answer:
    return Answer(200, json.dumps(document).encode())
