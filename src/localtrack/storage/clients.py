"""Opens what fsspec reaches a store with, so that a store that fails or hangs is given up in seconds, not in minutes.

Each package waits and tries again by rules of its own: with the defaults one request to a store that is down takes
botocore minutes, Azure's client 80 seconds and gcsfs 35, for each object that is to be sent at the end of a run.
Whatever the user has configured counts.
"""

from __future__ import annotations

import logging
import types
from typing import Any, Final

from localtrack.errors import ErrorCode, MissingPackageError, StorageError
from localtrack.redaction import mask_url
from localtrack.storage.credentials import says_secret, with_password
from localtrack.storage.failures import foreign_to_storage_error

CONNECT_PATIENCE_S: Final = 5
READ_PATIENCE_S: Final = 20
TRIES: Final = 3
"""How often a request is made that fails in a way that may pass."""

_PACKAGES: Final = {
    **dict.fromkeys(("s3", "s3a"), ("s3fs", "s3")),
    **dict.fromkeys(("gs", "gcs"), ("gcsfs", "gcs")),
    **dict.fromkeys(("abfs", "abfss", "az", "adl"), ("adlfs", "azure")),
    **dict.fromkeys(("sftp", "ssh"), ("paramiko", "sftp")),
    "smb": ("smbprotocol", "smb"),
}
"""By protocol: what reaches it, and the extra that brings it."""

_PATIENCE_OPTIONS: Final = (
    "config_kwargs",
    "session_kwargs",
    "requests_timeout",
    "connection_timeout",
    "read_timeout",
    "timeout",
)


def connect(url: str, **wanted: Any) -> tuple[Any, str]:
    """Return fsspec's file system for a URL, and the path in it.

    Args:
        url: As fsspec has it; without its password if `keep_password` has it.
        wanted: Options of the file system besides.

    Raises:
        MissingPackageError: The package for the protocol is not installed.
        StorageError: fsspec does not know the protocol, refuses the URL, or there is no connection.
    """
    import fsspec
    import fsspec.config

    shown, url = mask_url(url), with_password(url)
    protocol = url.partition("://")[0].lower()
    configured = fsspec.config.conf.get(protocol, {})
    is_patience_ours = not any(name in configured for name in _PATIENCE_OPTIONS)
    try:
        if protocol in ("sftp", "ssh"):
            return _connect_sftp(url)
        if protocol == "smb":
            return _connect_smb(url)
        options = _patience(protocol) if is_patience_ours else {}
        fs, root = _connect_any(url, {**options, **wanted})
    except ImportError as error:
        package, extra = _PACKAGES.get(protocol, ("", ""))
        if package:
            raise MissingPackageError.of(shown, package, extra=extra) from error
        raise MissingPackageError(f"{shown} needs another package: {error}.", hint="Install it with pip.") from error
    except Exception as error:  # each package has errors of its own; what is none of theirs passes
        # A TypeError: an argument of the file system that has to stand in the URL does not.
        mapped = _refused_url(shown, error) if isinstance(error, ValueError | TypeError) else None
        mapped = mapped or foreign_to_storage_error(error, f"Connecting to {shown}")
        if mapped is None:
            raise
        if says_secret(str(error), url):
            raise StorageError(f"Connecting to {shown} failed: {type(error).__name__}.", code=mapped.code) from None
        raise mapped from error
    if is_patience_ours:
        _limit_tries(fs, protocol)
    return fs, root


def _connect_any(url: str, options: dict[str, Any]) -> tuple[Any, str]:
    import fsspec

    options["skip_instance_cache"] = True  # a cached one could be that of the parent before a fork
    try:
        found: tuple[Any, str] = fsspec.core.url_to_fs(url, use_listings_cache=False, **options)
    except TypeError as error:
        if "use_listings_cache" not in str(error):  # webdav4 hands on what it does not know
            raise
        found = fsspec.core.url_to_fs(url, **options)
        found[0].dircache.use_listings_cache = False
    return found


def _refused_url(shown: str, error: Exception) -> StorageError:
    reason = " ".join(str(error).split()).rstrip(".!")
    return StorageError(
        f"{shown} cannot be opened: {reason}.",
        code=ErrorCode.UNSUPPORTED,
        hint="Check the URL, and what the environment says about signing in.",
    )


def _patience(protocol: str) -> dict[str, Any]:
    if protocol in ("s3", "s3a"):
        config = {
            "connect_timeout": CONNECT_PATIENCE_S,
            "read_timeout": READ_PATIENCE_S,
            "retries": {"max_attempts": TRIES - 1},
        }
        return {"config_kwargs": config}
    if protocol in ("gs", "gcs"):
        import aiohttp  # gcsfs brings it

        # Of a whole request: an object is 1 MiB, and large files are sent in parts.
        patience = aiohttp.ClientTimeout(total=3 * READ_PATIENCE_S, connect=CONNECT_PATIENCE_S)
        return {"session_kwargs": {"timeout": patience}}
    if protocol in ("abfs", "abfss", "az"):
        return {"connection_timeout": CONNECT_PATIENCE_S, "read_timeout": READ_PATIENCE_S}
    return {}


def _limit_tries(fs: Any, protocol: str) -> None:
    """Set what no option of the package sets."""
    if protocol in ("s3", "s3a"):
        fs.retries = TRIES
    elif protocol in ("gs", "gcs"):
        from gcsfs.retry import retry_request

        _be_silent("gcsfs")
        plain = getattr(type(fs)._request, "__wrapped__", None)
        if plain is not None:  # six tries are bound to it where it is defined
            fs._request = types.MethodType(retry_request(retries=TRIES)(plain), fs)
    elif protocol in ("abfs", "abfss", "az"):
        _be_silent("azure.storage")
        _be_silent("azure.identity")
        for policy in fs.service_client._pipeline._impl_policies:
            if hasattr(policy, "initial_backoff"):
                policy.total_retries = TRIES - 1
                policy.initial_backoff = policy.increment_base = policy.random_jitter_range = 1


def _connect_sftp(url: str) -> tuple[Any, str]:
    from localtrack.storage.sftp import SftpFiles

    _be_silent("paramiko")
    fs = SftpFiles(**SftpFiles._get_kwargs_from_urls(url))
    return fs, fs._strip_protocol(url)


def _connect_smb(url: str) -> tuple[Any, str]:
    from localtrack.storage.smb import SmbFiles

    path: str = SmbFiles._strip_protocol(url)
    if not path.strip("/"):
        raise ValueError("it names no share")
    _be_silent("smbprotocol")
    return SmbFiles(**SmbFiles._get_kwargs_from_urls(url)), path


def _be_silent(name: str) -> None:
    """Keep a package from printing each failure with its stack: it is raised too, and said once."""
    logger = logging.getLogger(name)
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.CRITICAL)
