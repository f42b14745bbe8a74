"""What the environment says about remotes, in MLflow's and Databricks' variables.

The one place of this package that reads it. Values of variables that hold secrets leave this module only inside
objects that do not show them.
"""

from __future__ import annotations

import configparser
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from localtrack.errors import ErrorCode, InvalidInputError

_TRUE: Final = frozenset(["true", "1"])


@dataclass(frozen=True, slots=True)
class TrackingCredentials:
    """How to sign in at an MLflow Tracking server."""

    username: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    source: str = ""
    """Where they come from, for people."""
    is_insecure_tls: bool = False
    server_cert_path: str = ""
    client_cert_path: str = ""


def tracking_credentials() -> TrackingCredentials:
    """Return what MLflow would use: variables, else `~/.mlflow/credentials`; a user name wins over a token.

    Raises:
        InvalidInputError: Variables contradict each other, or ask for what is not supported.

    Source: `mlflow/utils/credentials.py` and `mlflow/utils/rest_utils.py` of MLflow 3.17.
    """
    for name in ("MLFLOW_TRACKING_AWS_SIGV4", "MLFLOW_TRACKING_AUTH"):
        if _get(name).lower() not in ("", "false", "0"):
            raise InvalidInputError(
                f"{name} is set, which localtrack cannot do.",
                code=ErrorCode.INVALID_SETTING,
                hint="Unset it, and sign in with a user name and password or a token.",
            )
    is_insecure = _get("MLFLOW_TRACKING_INSECURE_TLS").lower() in _TRUE
    server_cert = _get("MLFLOW_TRACKING_SERVER_CERT_PATH")
    # As requests has it, which MLflow goes through.
    bundle = "" if is_insecure else _get("REQUESTS_CA_BUNDLE") or _get("CURL_CA_BUNDLE")
    if is_insecure and server_cert:
        raise InvalidInputError(
            "MLFLOW_TRACKING_INSECURE_TLS and MLFLOW_TRACKING_SERVER_CERT_PATH are both set.",
            code=ErrorCode.INVALID_SETTING,
            hint="Unset one of them.",
        )
    username, password = _get("MLFLOW_TRACKING_USERNAME"), _get("MLFLOW_TRACKING_PASSWORD")
    token, source = _get("MLFLOW_TRACKING_TOKEN"), ""
    if username or password:
        source = "MLFLOW_TRACKING_USERNAME"
    file_username, file_password = _read_credentials_file()
    if not username and file_username:
        username, source = file_username, "~/.mlflow/credentials"
    if not password and file_password:
        password = file_password
    if username and password:
        token = ""
    elif token:
        username = password = ""
        source = "MLFLOW_TRACKING_TOKEN"
    else:
        username = password = source = ""
    return TrackingCredentials(
        username, password, token, source, is_insecure, server_cert or bundle, _get("MLFLOW_TRACKING_CLIENT_CERT_PATH")
    )


def _read_credentials_file() -> tuple[str, str]:
    path = Path.home() / ".mlflow" / "credentials"
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(path.read_text("utf-8"), source="~/.mlflow/credentials")
    except FileNotFoundError:
        return "", ""
    except (OSError, UnicodeDecodeError, configparser.Error) as error:
        # The message of the parser would show lines of the file.
        raise InvalidInputError(
            f"The file ~/.mlflow/credentials cannot be read ({type(error).__name__}).", code=ErrorCode.INVALID_SETTING
        ) from None
    if not parser.has_section("mlflow"):
        return "", ""
    section = parser["mlflow"]
    return section.get("mlflow_tracking_username", ""), section.get("mlflow_tracking_password", "")


@dataclass(frozen=True, slots=True)
class DatabricksSettings:
    """What variables and the profile file say of a workspace."""

    env_host: str = ""
    env_token: str = field(default="", repr=False)
    has_env_oauth: bool = False
    """A client id and secret are set."""
    env_profile: str = ""
    config_file: str = ""
    profiles: dict[str, dict[str, str]] = field(default_factory=dict, repr=False)


def databricks_settings() -> DatabricksSettings:
    """Return what DATABRICKS_ variables and `~/.databrickscfg` (or DATABRICKS_CONFIG_FILE) say."""
    config_file = _get("DATABRICKS_CONFIG_FILE") or str(Path.home() / ".databrickscfg")
    parser = configparser.ConfigParser(interpolation=None, default_section="\0")
    try:
        parser.read_string(Path(config_file).expanduser().read_text("utf-8"), source="profiles")
    except FileNotFoundError:
        pass
    except (OSError, UnicodeDecodeError, configparser.Error) as error:
        raise InvalidInputError(
            f"The file of Databricks profiles cannot be read ({type(error).__name__}).", code=ErrorCode.INVALID_SETTING
        ) from None
    return DatabricksSettings(
        env_host=_get("DATABRICKS_HOST"),
        env_token=_get("DATABRICKS_TOKEN"),
        has_env_oauth=bool(_get("DATABRICKS_CLIENT_ID") and _get("DATABRICKS_CLIENT_SECRET")),
        env_profile=_get("DATABRICKS_CONFIG_PROFILE"),
        config_file=config_file,
        profiles={name: dict(parser[name]) for name in parser.sections()},
    )


def mlflow_tracking_uri() -> str:
    """Return MLFLOW_TRACKING_URI; empty where it is not set."""
    return _get("MLFLOW_TRACKING_URI")


def storage_options(scheme: str) -> dict[str, Any]:
    """Return how MLflow's variables say to reach the storage of a scheme, for fsspec; the rest it finds itself."""
    options: dict[str, Any] = {}
    if scheme == "s3":
        if _get("MLFLOW_S3_ENDPOINT_URL"):
            options["endpoint_url"] = _get("MLFLOW_S3_ENDPOINT_URL")
        if _get("MLFLOW_S3_IGNORE_TLS").lower() in _TRUE:
            options["client_kwargs"] = {"verify": False}
    return options


def state_folder() -> Path:
    """Return where this user's ledgers of stores lie that cannot be written to."""
    base = _get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "localtrack"


def _get(name: str) -> str:
    return os.environ.get(name) or ""
