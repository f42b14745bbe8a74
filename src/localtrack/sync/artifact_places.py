"""Where a target keeps artifacts, and how a file gets there: through the server, or to the storage that it names."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, BinaryIO, Final, Protocol
from urllib.parse import quote, unquote, urlsplit

from localtrack.errors import LocaltrackError, RefusedError, SyncError
from localtrack.storage.clients import connect
from localtrack.storage.failures import foreign_to_storage_error
from localtrack.sync.answers import judge_answer
from localtrack.sync.environment import storage_options
from localtrack.sync.http import Http, map_httpx_error
from localtrack.sync.limits import Limits

COPY_BYTES: Final = 1 << 20
MULTIPART_BYTES: Final = 500 * 1024**2
"""Larger files go through the proxy in parts where it can. Source: MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE."""
PART_BYTES: Final = 10 * 1024**2
"""Made larger for files that would need more than 10,000 parts, which S3 does not take."""
_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1", "[::1]")
_QUERY: Final = re.compile(r"\?\S+")
_PROXY: Final = "/api/2.0/mlflow-artifacts"


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file of the store."""

    path: str
    """Its name among the artifacts."""
    size: int
    open: Callable[[], BinaryIO]


class ArtifactPlace(Protocol):
    """The artifacts of one run or model on a target."""

    def put(self, file: LocalFile) -> None:
        """Bring a file there, over one of that name; doing it twice is the same as once."""
        ...

    def read(self, path: str) -> Iterator[bytes]:
        """Yield the content of a file there."""
        ...


class ProxyPlace:
    """Behind the tracking server, which passes files on."""

    def __init__(self, http: Http, root: str) -> None:
        self._http = http
        self._root = root.strip("/")

    def put(self, file: LocalFile) -> None:
        """See `ArtifactPlace.put`."""
        if file.size >= MULTIPART_BYTES and self._put_parts(file):
            return
        put_stream(self._http, f"{_PROXY}/artifacts/{self._quoted(file.path)}", file)

    def read(self, path: str) -> Iterator[bytes]:
        """See `ArtifactPlace.read`."""
        yield from read_stream(self._http, f"{_PROXY}/artifacts/{self._quoted(path)}")

    def _quoted(self, path: str) -> str:
        return quote(posixpath.join(self._root, path))

    def _put_parts(self, file: LocalFile) -> bool:
        """Upload in parts straight to the storage behind the server; return whether the server offers that."""
        part_bytes = max(PART_BYTES, -(-file.size // 10_000))
        count = -(-file.size // part_bytes)
        folder, name = posixpath.split(posixpath.join(self._root, file.path))
        try:
            begun = self._http.post(f"{_PROXY}/mpu/create/{quote(folder)}", {"path": name, "num_parts": count})
        except RefusedError:
            return False  # 501 where its storage takes no parts, 404 where it is too old
        upload_id, parts = begun.get("upload_id"), []
        try:
            with file.open() as source:
                for credential in sorted(begun["credentials"], key=lambda item: int(item["part_number"])):
                    etag = put_elsewhere(
                        self._http, credential["url"], source.read(part_bytes), dict(credential.get("headers") or {})
                    )
                    parts.append(
                        {"part_number": int(credential["part_number"]), "etag": etag, "url": credential["url"]}
                    )
            self._http.post(
                f"{_PROXY}/mpu/complete/{quote(folder)}", {"path": name, "upload_id": upload_id, "parts": parts}
            )
        except BaseException:  # an interrupt too: parts that nobody completes cost storage until they are dropped
            self._abort(folder, name, upload_id)
            raise
        return True

    def _abort(self, folder: str, name: str, upload_id: Any) -> None:
        with suppress(SyncError):  # what failed is raised; the storage drops parts that nobody completes
            self._http.post(f"{_PROXY}/mpu/abort/{quote(folder)}", {"path": name, "upload_id": upload_id})


class FilesPlace:
    """A place that fsspec reaches: s3, gs, abfs and so on, or a folder of this machine."""

    def __init__(self, url: str) -> None:
        self._fs, self._root = connect(url, **storage_options(url.partition("://")[0]))

    def put(self, file: LocalFile) -> None:
        """See `ArtifactPlace.put`."""
        path = posixpath.join(self._root, file.path)
        with _mapped_files("Writing an artifact"):
            self._fs.makedirs(posixpath.dirname(path), exist_ok=True)
            with file.open() as source, self._fs.open(path, "wb") as sink:
                while block := source.read(COPY_BYTES):
                    sink.write(block)

    def read(self, path: str) -> Iterator[bytes]:
        """See `ArtifactPlace.read`."""
        with _mapped_files("Reading an artifact"), self._fs.open(posixpath.join(self._root, path), "rb") as source:
            while block := source.read(COPY_BYTES):
                yield block


def open_place(http: Http, uri: str, *, base_url: str) -> ArtifactPlace:
    """Return the place that an artifact URI of the target names.

    Raises:
        SyncError: It cannot be reached from here.
    """
    scheme = uri.partition(":")[0].lower() if ":" in uri else ""
    parts = urlsplit(uri)
    if scheme == "mlflow-artifacts":
        if parts.hostname and parts.hostname != urlsplit(base_url).hostname:
            raise SyncError(
                f"The artifacts of the target are served by another host, {parts.hostname}.",
                hint="Push with --skip-artifacts, or to that host.",
            )
        return ProxyPlace(http, parts.path)
    if scheme == "dbfs":
        from localtrack.sync.databricks_artifacts import open_dbfs_place

        return open_dbfs_place(http, uri)
    if scheme in ("", "file"):
        if urlsplit(base_url).hostname not in _LOOPBACK:
            raise SyncError(
                f"The target keeps artifacts in a folder of its own machine, {parts.path or uri}.",
                hint="Start it with --serve-artifacts, or push with --skip-artifacts.",
            )
        return FilesPlace(unquote(parts.path) if scheme else uri)
    return FilesPlace({"wasbs": "abfs", "abfss": "abfs"}.get(scheme, scheme) + uri[len(scheme) :])


def check_size(file: LocalFile, limits: Limits) -> str | None:
    """Return why a file is too large for the target; None if it is not."""
    if limits.file_bytes is not None and file.size > limits.file_bytes:
        return f"larger than the target takes ({limits.file_bytes} bytes)"
    return None


# -- bytes over HTTP


def put_stream(http: Http, path: str, file: LocalFile, *, params: Any = None) -> None:
    """PUT a file in blocks; repeated after failures, since it replaces what is there."""

    def once() -> None:
        with file.open() as source:
            response = http.exchange(
                "PUT",
                path,
                params=params,
                content=_blocks(source),
                headers={"Content-Length": str(file.size), "Content-Type": "application/octet-stream"},
            )
        http.traffic.sent_bytes += file.size
        if not 200 <= response.status_code < 300:
            judge_answer(response.status_code, response.headers, response.content, what="artifacts")

    http.persist(once)


def read_stream(http: Http, path: str, *, params: Any = None) -> Iterator[bytes]:
    """Yield the body of a GET in blocks."""
    import httpx

    try:
        with http.stream("GET", path, params=params) as response:
            if response.status_code != 200:
                response.read()
                judge_answer(response.status_code, response.headers, response.content, what="artifacts")
            yield from response.iter_bytes(COPY_BYTES)
    except httpx.HTTPError as error:
        raise map_httpx_error(error, "artifacts") from None


def put_elsewhere(http: Http, url: str, data: Any, headers: dict[str, str], *, size: int | None = None) -> str:
    """PUT to a signed URL of a storage, without our credentials, and return the ETag."""
    import httpx

    sent = dict(headers)
    if size is not None:
        sent["Content-Length"] = str(size)

    def once() -> str:
        http.traffic.requests_count += 1
        try:
            response = http.elsewhere.put(url, content=data() if callable(data) else data, headers=sent)
        except httpx.HTTPError as error:
            raise map_httpx_error(error, "signed upload") from None
        if not 200 <= response.status_code < 300:
            judge_answer(response.status_code, response.headers, response.content, what="signed upload")
        return str(response.headers.get("etag", ""))

    etag: str = http.persist(once)
    return etag


def read_elsewhere(http: Http, url: str, headers: dict[str, str]) -> Iterator[bytes]:
    """Yield what a signed URL of a storage gives, without our credentials."""
    import httpx

    http.traffic.requests_count += 1
    try:
        with http.elsewhere.stream("GET", url, headers=headers) as response:
            if response.status_code != 200:
                response.read()
                judge_answer(response.status_code, response.headers, response.content, what="signed download")
            yield from response.iter_bytes(COPY_BYTES)
    except httpx.HTTPError as error:
        raise map_httpx_error(error, "signed download") from None


def _blocks(source: BinaryIO) -> Iterator[bytes]:
    while block := source.read(COPY_BYTES):
        yield block


@contextmanager
def _mapped_files(what: str) -> Iterator[None]:
    try:
        yield
    except LocaltrackError:
        raise
    except Exception as error:  # what clients of storages raise is no OSError everywhere
        mapped = foreign_to_storage_error(error, f"{what} on the target's storage")
        if mapped is None:
            raise
        # A query can hold what a URL is signed with.
        raise SyncError(_QUERY.sub("?…", str(mapped))[:500]) from None
