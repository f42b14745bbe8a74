"""Databricks workspaces: which one, signed in how, and what they ask of the names of experiments."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from localtrack.errors import ErrorCode, InvalidInputError, MissingPackageError, RefusedError
from localtrack.sync.environment import DatabricksSettings, databricks_settings
from localtrack.sync.http import Connection, Http
from localtrack.sync.limits import DATABRICKS, Limits
from localtrack.sync.target import Target, target_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

_OAUTH_FIELDS: Final = ("client_id", "client_secret", "auth_type", "azure_client_id", "azure_workspace_resource_id")


@dataclass(frozen=True, slots=True)
class DatabricksTarget(Target):
    """A workspace."""

    def experiment_name(self, name: str) -> str:
        """Return the absolute workspace path of an experiment, without `/Workspace` and doubled slashes.

        Raises:
            InvalidInputError: The name is no absolute path.

        Source: a workspace finds experiments by the path without `/Workspace` only (mlflow/mlflow#11077).
        """
        path = posixpath.normpath(name) if name.startswith("/") else name
        if path.startswith("//"):
            path = path[1:]
        if path == "/Workspace" or path.startswith("/Workspace/"):
            path = path[len("/Workspace") :]
        if not path.startswith("/") or path == "/":
            raise InvalidInputError(
                f"The experiment {name!r} has no place in a workspace, where names are absolute paths.",
                code=ErrorCode.INVALID_NAME,
                hint="Give a folder with --prefix, such as /Shared/team/ or /Users/you@example.com/, or use --rename.",
            )
        return path

    def prepare_experiment(self, http: Http, name: str) -> None:
        """Make the folder that the experiment lies in; those that are there stay as they are."""
        folder = posixpath.dirname(name)
        if folder not in ("", "/", "/Shared", "/Users"):
            http.post("/api/2.0/workspace/mkdirs", {"path": folder})

    def ask_limits(self, http: Http) -> Limits:
        """Return what workspaces take."""
        return self.limits

    def identify(self, http: Http) -> str:
        """Return the user or service principal that the workspace takes this for."""
        try:
            answer = http.get("/api/2.0/preview/scim/v2/Me")
        except RefusedError as error:
            if error.is_not_found:
                return self.identity
            raise
        return f"{answer.get('userName') or answer.get('displayName') or '?'} ({self.identity})"


def resolve_databricks(uri: str) -> DatabricksTarget:
    """Return the workspace of `databricks` or `databricks://profile`.

    Raises:
        InvalidInputError: Nothing says which workspace, or a named profile and the environment contradict each other.
    """
    settings = databricks_settings()
    name = uri.partition("://")[2]
    if ":" in name:
        raise InvalidInputError(
            "Secret scopes (databricks://scope:prefix) can only be read inside of a workspace.",
            code=ErrorCode.INVALID_SETTING,
            hint="Use a profile: databricks://profile.",
        )
    profile = name or settings.env_profile
    if profile:
        return _from_profile(settings, profile, is_named=bool(name))
    if settings.env_host:
        return _from_environment(settings)
    if "DEFAULT" in settings.profiles:
        return _from_profile(settings, "DEFAULT", is_named=False)
    raise InvalidInputError(
        "Nothing says which Databricks workspace is meant.",
        code=ErrorCode.INVALID_SETTING,
        hint="Set DATABRICKS_HOST and DATABRICKS_TOKEN, or name a profile: databricks://profile.",
    )


def _from_environment(settings: DatabricksSettings) -> DatabricksTarget:
    host = _host(settings.env_host)
    if settings.env_token:
        return _target(host, "the token in DATABRICKS_TOKEN", _bearer(settings.env_token))
    return _sdk_target(host, None, "what the environment says to databricks-sdk")


def _from_profile(settings: DatabricksSettings, profile: str, *, is_named: bool) -> DatabricksTarget:
    section = settings.profiles.get(profile)
    if section is None:
        raise InvalidInputError(
            f"There is no Databricks profile {profile!r}.",
            code=ErrorCode.INVALID_SETTING,
            hint="`databricks auth profiles` lists them; DATABRICKS_CONFIG_FILE names their file.",
        )
    host = _host(section.get("host", ""))
    # databricks-sdk lets the environment win over a profile that was named: the runs would go to another workspace.
    for variable, value, other in (
        ("DATABRICKS_HOST", settings.env_host and _host(settings.env_host), host),
        ("DATABRICKS_TOKEN", settings.env_token, section.get("token", "")),
    ):
        if value and value != other:
            named = f"databricks://{profile}" if is_named else "DATABRICKS_CONFIG_PROFILE"
            raise InvalidInputError(
                f"{named} and {variable} contradict each other.",
                code=ErrorCode.INVALID_SETTING,
                hint=f"Unset {variable}, or leave the profile out.",
            )
    if settings.has_env_oauth and not section.get("client_id"):
        raise InvalidInputError(
            f"The profile {profile!r} and DATABRICKS_CLIENT_ID contradict each other.",
            code=ErrorCode.INVALID_SETTING,
            hint="Unset DATABRICKS_CLIENT_ID and DATABRICKS_CLIENT_SECRET, or leave the profile out.",
        )
    token = section.get("token", "")
    if token and not any(section.get(field) for field in _OAUTH_FIELDS):
        return _target(host, f"the token of profile {profile}", _bearer(token))
    return _sdk_target(host, profile, f"profile {profile}")


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def _target(host: str, identity: str, headers: dict[str, str], auth: Any = None) -> DatabricksTarget:
    return DatabricksTarget(
        "databricks", target_key(host), host, identity, Connection(host, auth, True, headers), DATABRICKS
    )


def _host(text: str) -> str:
    text = text.strip()
    if not text:
        raise InvalidInputError("The Databricks profile names no host.", code=ErrorCode.INVALID_SETTING)
    parts = urlsplit(text if "://" in text else f"https://{text}")
    return f"{parts.scheme.lower()}://{parts.netloc.rpartition('@')[2].lower()}"


def _sdk_target(host: str, profile: str | None, identity: str) -> DatabricksTarget:
    """Sign in by whatever databricks-sdk can: OAuth for machines and users, Azure, and so on."""
    try:
        from databricks.sdk.config import Config
    except ImportError:
        raise MissingPackageError.of(
            "Signing in without a token", "databricks-sdk", extra="databricks", otherwise="set DATABRICKS_TOKEN"
        ) from None
    try:
        config = Config(profile=profile) if profile else Config(host=host)
    except ValueError as error:
        # The SDK's text names variables and profiles, with secrets replaced; only its first line is of use.
        raise InvalidInputError(
            f"databricks-sdk cannot sign in to {host} ({type(error).__name__}).",
            code=ErrorCode.INVALID_SETTING,
            hint="Check the profile, or DATABRICKS_CLIENT_ID and DATABRICKS_CLIENT_SECRET.",
        ) from None
    return _target(host, f"{config.auth_type or 'OAuth'}, {identity}", {}, _sdk_auth(config))


def _sdk_auth(config: Any) -> httpx.Auth:
    import httpx

    class SdkAuth(httpx.Auth):
        """Asks the SDK for the headers of each request: it renews what expires."""

        def auth_flow(self, request: httpx.Request) -> Iterator[httpx.Request]:  # type: ignore[override]
            request.headers.update(config.authenticate())
            yield request

    return SdkAuth()
