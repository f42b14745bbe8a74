"""Sends requests to a target: paced, authenticated, retried where that can do no harm."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from localtrack.errors import (
    ErrorCode,
    MissingPackageError,
    RefusedError,
    ThrottledError,
    UnreachableError,
    UnsureError,
)
from localtrack.sync.answers import judge_answer
from localtrack.sync.pace import Pace

if TYPE_CHECKING:
    import httpx

Repeat = Literal["safe", "never"]
"""`safe`: sending it twice is the same as once. `never`: after an unsure answer the caller has to ask first."""

_LONGEST_PAUSE_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a failing target is borne with."""

    tries_count: int = 6
    """Of requests that failed; throttled ones are not counted."""
    first_pause_s: float = 1.0
    """Doubled after each try."""
    settle_s: float = 2.0
    """After an unsure answer: how long what is perhaps still being carried out may take before the target is asked."""
    timeout_s: float = 120.0
    """Of one answer."""
    first_throttled_pause_s: float = 1.0
    """After a throttled request that does not say for how long; doubled each time in a row."""
    throttled_s: float = 900.0
    """How long a target may go on throttling."""

    def before_asking_s(self, number: int, error: UnsureError) -> float:
        """Return how long to wait after the unsure answer `number`, counted from 0, before the target is asked.

        What did not answer in time is given as long again: what it does after that, nobody would know of.
        """
        return self.pause_s(number) + (self.timeout_s if error.is_late else self.settle_s)

    def pause_s(self, number: int) -> float:
        """Return how long to wait after the failed try `number`, counted from 0."""
        return min(self.first_pause_s * 2.0**number, _LONGEST_PAUSE_S)


@dataclass(slots=True)
class Traffic:
    """What was sent and received."""

    requests_count: int = 0
    retries_count: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Connection:
    """How to reach a target. Made by `sync.target`; never shown, since it holds secrets."""

    base_url: str
    auth: Any = field(default=None, repr=False)
    verify: Any = True
    headers: Mapping[str, str] = field(default_factory=dict)
    transport: Any = None
    """What carries requests instead of httpx's own, for tests."""


class Http:
    """The connection to one target. Thread-safe."""

    def __init__(
        self,
        connection: Connection,
        *,
        patience: Patience | None = None,
        requests_per_s: Mapping[str, float] | None = None,
        sleep: Callable[[float], None] = time.sleep,
        connections_count: int = 8,
        is_compressed: bool = False,
    ) -> None:
        import httpx

        self.patience = patience or Patience()
        self.traffic = Traffic()
        self.sleep = sleep
        self.is_compressed = is_compressed
        rates, pause_s = requests_per_s or {}, self.patience.first_throttled_pause_s
        self._paces = {
            kind: Pace(rates.get(kind), sleep=sleep, first_pause_s=pause_s) for kind in ("search", "batch", "other")
        }
        self._client = httpx.Client(
            base_url=connection.base_url,
            auth=connection.auth,
            verify=connection.verify,
            headers={"User-Agent": _user_agent(), **connection.headers},
            timeout=httpx.Timeout(self.patience.timeout_s, connect=min(self.patience.timeout_s, 20.0)),
            limits=httpx.Limits(max_connections=connections_count * 2, max_keepalive_connections=connections_count),
            follow_redirects=False,
            transport=connection.transport,
        )
        self._transport = connection.transport
        self._elsewhere: httpx.Client | None = None
        self._lock = threading.Lock()

    @property
    def elsewhere(self) -> httpx.Client:
        """What talks to the storages that a target names: without its credentials and certificates."""
        import httpx

        with self._lock:
            if self._elsewhere is None:
                self._elsewhere = httpx.Client(
                    headers={"User-Agent": _user_agent()}, timeout=self._client.timeout, transport=self._transport
                )
            return self._elsewhere

    def close(self) -> None:
        """Close all connections."""
        self._client.close()
        if self._elsewhere is not None:
            self._elsewhere.close()

    @property
    def throttled_count(self) -> int:
        """How many requests the target throttled."""
        return sum(pace.throttled_count for pace in self._paces.values())

    def get(self, path: str, params: Any = None, *, kind: str = "other") -> dict[str, Any]:
        """Read something. As `call`."""
        return self.call("GET", path, params=params, kind=kind)

    def post(
        self, path: str, document: Mapping[str, Any], *, repeat: Repeat = "safe", kind: str = "other"
    ) -> dict[str, Any]:
        """Send a JSON object. As `call`."""
        import orjson

        return self.call("POST", path, content=orjson.dumps(document), repeat=repeat, kind=kind)

    def call(
        self,
        method: str,
        path: str,
        *,
        params: Any = None,
        content: bytes | None = None,
        repeat: Repeat = "safe",
        kind: str = "other",
    ) -> dict[str, Any]:
        """Return the JSON object that the target answers with.

        Args:
            method: HTTP method.
            path: Below the base URL.
            params: Of the query.
            content: A JSON body.
            repeat: Whether an unsure answer may be followed by the same request again.
            kind: Which rate counts: `search`, `batch` or `other`.

        Raises:
            RefusedError: A definite no.
            UnsureError: Nobody can tell; with `repeat="safe"` after as many tries as `patience` allows.
            UnreachableError: It was not carried out.
        """
        headers = {} if content is None else {"Content-Type": "application/json"}
        if content is not None and self.is_compressed and len(content) > 1024:
            import gzip

            content = gzip.compress(content, 5)
            headers["Content-Encoding"] = "gzip"

        def once() -> dict[str, Any]:
            response = self.exchange(method, path, params=params, content=content, headers=headers)
            return judge_answer(response.status_code, response.headers, response.content, what=_name(path))

        answer: dict[str, Any] = self.persist(once, repeat=repeat, kind=kind)
        return answer

    def persist(self, once: Callable[[], Any], *, repeat: Repeat = "safe", kind: str = "other") -> Any:
        """Call `once` until it gives an answer that counts: the loop of all retries."""
        pace = self._paces[kind]
        failures_count = 0
        throttled_since_s: float | None = None
        while True:
            pace.wait()
            try:
                answer = once()
            except ThrottledError as error:
                now = time.monotonic()
                throttled_since_s = throttled_since_s or now
                pace.note_throttled(error.wait_s)
                if now - throttled_since_s > self.patience.throttled_s:
                    raise
            except UnreachableError:
                failures_count += 1
                if failures_count >= self.patience.tries_count:
                    raise
                self.sleep(self.patience.pause_s(failures_count - 1))
            except UnsureError:
                failures_count += 1
                if repeat == "never" or failures_count >= self.patience.tries_count:
                    raise
                self.sleep(self.patience.pause_s(failures_count - 1))
            else:
                pace.note_good()
                return answer
            self.traffic.retries_count += 1

    def exchange(
        self,
        method: str,
        path: str,
        *,
        params: Any = None,
        content: Any = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> httpx.Response:
        """Send one request, once, and return the whole answer, whatever its status.

        Raises:
            UnreachableError: It was not sent.
            UnsureError: The connection broke before the answer was whole.
        """
        import httpx

        self.traffic.requests_count += 1
        self.traffic.sent_bytes += len(content) if isinstance(content, (bytes, bytearray)) else 0
        try:
            response = self._client.request(
                method,
                path,
                params=params,
                content=content,
                headers=dict(headers or {}),
                timeout=httpx.USE_CLIENT_DEFAULT if timeout_s is None else timeout_s,
            )
        except httpx.HTTPError as error:
            raise map_httpx_error(error, _name(path)) from None
        self.traffic.received_bytes += len(response.content)
        return response

    def stream(self, method: str, path: str, *, params: Any = None, headers: Mapping[str, str] | None = None) -> Any:
        """Return httpx's context manager of a streamed answer; its errors go through `map_httpx_error`."""
        self.traffic.requests_count += 1
        return self._client.stream(method, path, params=params, headers=dict(headers or {}))


def map_httpx_error(error: Exception, what: str) -> UnreachableError | UnsureError | RefusedError:
    """Return our error for one of httpx: the one place that does. Its texts can hold URLs, but no header."""
    import httpx

    reason = type(error).__name__
    if isinstance(error, httpx.TransportError) and "[SSL: " in str(error) and "_ALERT_" in str(error):
        # It comes with the first answer, where it is the client's certificate that is missing: nothing was carried out.
        return RefusedError(
            f"The target refused the TLS connection at {what}.",
            code=ErrorCode.SYNC_DENIED,
            hint="MLFLOW_TRACKING_CLIENT_CERT_PATH names the certificate and key to sign in with.",
        )
    if isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)):
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            return RefusedError(
                f"The certificate of the target cannot be verified at {what}.",
                code=ErrorCode.SYNC_DENIED,
                hint="MLFLOW_TRACKING_SERVER_CERT_PATH names who issued it.",
            )
        return UnreachableError(f"The target cannot be reached for {what} ({reason}).", hint="Try again later.")
    if isinstance(error, (httpx.UnsupportedProtocol, httpx.InvalidURL, httpx.ProxyError)):
        return RefusedError(f"The target's address cannot be used for {what} ({reason}).")
    unsure = UnsureError(f"The connection broke at {what} ({reason}).", hint="Push again: nothing is sent twice.")
    unsure.is_late = isinstance(error, httpx.TimeoutException)
    return unsure


def require_httpx() -> None:
    """Raise `MissingPackageError` where httpx is missing."""
    try:
        import httpx  # noqa: F401 - only whether it is there
    except ImportError:
        raise MissingPackageError.of("Talking to a server", "httpx", extra="sync") from None


def _user_agent() -> str:
    from localtrack.version import VERSION

    return f"localtrack/{VERSION}"


def _name(path: str) -> str:
    return path.split("?")[0].removeprefix("/api/2.0/mlflow/").removeprefix("/ajax-api/2.0/mlflow/").strip("/")[:120]
