"""From what a user writes to a target: which host, signed in how, and what it takes."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import unquote, urlsplit, urlunsplit

from localtrack.errors import ErrorCode, InvalidInputError
from localtrack.redaction import mask_url
from localtrack.sync.environment import TrackingCredentials, tracking_credentials
from localtrack.sync.http import Connection, Http, require_httpx
from localtrack.sync.limits import MLFLOW, Limits, limits_of_mlflow
from localtrack.sync.server_version import ask_version

if TYPE_CHECKING:
    import ssl

TargetKind = Literal["mlflow", "databricks", "store"]

_MLFLOW_SCHEMES: Final = ("http", "https")


@dataclass(frozen=True, slots=True)
class Target:
    """A remote, resolved: shown to people before anything is written there."""

    kind: TargetKind
    key: str
    """Name of the folder of its ledger: the same however the host was written, and without secrets."""
    shown: str
    """Host and path, without user names and passwords."""
    identity: str
    """Who signs in, and where that was found."""
    connection: Connection = field(repr=False)
    limits: Limits = MLFLOW

    def experiment_name(self, name: str) -> str:
        """Return the name that an experiment has there."""
        return name

    def prepare_experiment(self, http: Http, name: str) -> None:
        """Make what must be there before an experiment of that name can be made."""

    def ask_limits(self, http: Http) -> Limits:
        """Return what the target takes, asking it which version of MLflow it is."""
        return limits_of_mlflow(ask_version(http))

    def identify(self, http: Http) -> str:
        """Return who signs in, asking the target where it can say."""
        return self.identity


def target_kind(uri: str) -> TargetKind:
    """Return what kind of target a URI names."""
    scheme = uri.partition(":")[0].lower()
    if scheme in _MLFLOW_SCHEMES and ":" in uri:
        return "mlflow"
    if uri == "databricks" or uri.startswith("databricks://"):
        return "databricks"
    if scheme in ("databricks-uc", "uc") or uri in ("databricks-uc", "uc"):
        raise InvalidInputError(
            f"{uri!r} names a model registry; runs are pushed to `databricks` or `databricks://profile`.",
            code=ErrorCode.INVALID_SETTING,
        )
    return "store"


def resolve_target(uri: str) -> Target:
    """Return the server or workspace that a URI names, with what the environment says about signing in.

    Raises:
        InvalidInputError: It names none, or settings contradict each other.
        MissingPackageError: httpx is not installed.
    """
    kind = target_kind(uri)
    if kind in ("mlflow", "databricks"):
        require_httpx()
    if kind == "mlflow":
        return _resolve_mlflow(uri)
    if kind == "databricks":
        from localtrack.sync.databricks import resolve_databricks

        return resolve_databricks(uri)
    raise InvalidInputError(
        f"{mask_url(uri)!r} is no URI of a server.", hint="Give http(s)://…, databricks or databricks://profile."
    )


def _resolve_mlflow(uri: str) -> Target:
    import httpx

    parts = urlsplit(uri)
    if not parts.hostname:
        raise InvalidInputError("The URI of the target names no host.", code=ErrorCode.INVALID_SETTING)
    credentials = tracking_credentials()
    username, password, source = credentials.username, credentials.password, credentials.source
    if parts.username:
        username, password, source = unquote(parts.username), unquote(parts.password or ""), "the URI"
    auth: Any = None
    headers: dict[str, str] = {}
    identity = "nobody (no credentials are set)"
    if username:
        auth = httpx.BasicAuth(username, password)
        identity = f"{username} (password from {source})"
    elif credentials.token:
        headers["Authorization"] = f"Bearer {credentials.token}"
        identity = f"a token (from {credentials.source})"
    is_plain = parts.scheme.lower() == "http"
    if credentials.is_insecure_tls and not is_plain:
        identity += "; its certificate is not checked (MLFLOW_TRACKING_INSECURE_TLS)"
    host = parts.hostname.lower()
    netloc = (f"[{host}]" if ":" in host else host) + (f":{parts.port}" if parts.port else "")
    path = parts.path.rstrip("/")
    base_url = urlunsplit((parts.scheme.lower(), netloc, path, "", ""))
    return Target(
        "mlflow",
        target_key(base_url),
        base_url,
        identity,
        Connection(base_url, auth, tls_verification(credentials, is_plain=is_plain), headers),
    )


def tls_verification(credentials: TrackingCredentials, *, is_plain: bool) -> Any:
    """Return httpx's `verify`: an SSL context where certificates are named."""
    if is_plain or (credentials.is_insecure_tls and not credentials.client_cert_path):
        return False
    if not (credentials.server_cert_path or credentials.client_cert_path):
        return True
    import ssl

    try:
        context = _trusting(credentials.server_cert_path)
        if credentials.is_insecure_tls:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if credentials.client_cert_path:
            # A key with a passphrase is an error, instead of a question on the terminal.
            context.load_cert_chain(credentials.client_cert_path, password="")
    except (OSError, ssl.SSLError) as error:
        raise InvalidInputError(
            f"A certificate file of the settings cannot be read ({type(error).__name__}).",
            code=ErrorCode.INVALID_SETTING,
            hint="Check MLFLOW_TRACKING_SERVER_CERT_PATH, REQUESTS_CA_BUNDLE and MLFLOW_TRACKING_CLIENT_CERT_PATH.",
        ) from None
    return context


def _trusting(cert_path: str) -> ssl.SSLContext:
    """Return a context that trusts the issuers in a file or folder, or those that the system trusts."""
    import ssl

    if not cert_path:
        return ssl.create_default_context()
    if os.path.isdir(cert_path):
        return ssl.create_default_context(capath=cert_path)
    return ssl.create_default_context(cafile=cert_path)


def target_key(base_url: str) -> str:
    """Return the name of a target's ledger folder: readable, safe as a file name, and as good as unique."""
    without_scheme = base_url.partition("://")[2]
    readable = re.sub(r"[^a-z0-9.]+", "-", without_scheme.lower()).strip("-.")[:40]
    return f"{readable}-{hashlib.sha256(base_url.encode()).hexdigest()[:12]}"
