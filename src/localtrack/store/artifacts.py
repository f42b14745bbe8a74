"""A run's artifacts: files put in place whole, listed and read without following a link out. FORMAT.md section 11."""

from __future__ import annotations

import hashlib
import os
import posixpath
import warnings
from collections.abc import Iterable, Iterator
from typing import BinaryIO, Final, NamedTuple

from localtrack.errors import ErrorCode, InvalidInputError, NotFoundError
from localtrack.format.layout import ARTIFACTS, TEMPORARY_PREFIX
from localtrack.format.names import validate_artifact_path
from localtrack.storage import localpaths
from localtrack.storage.base import Entry, Storage
from localtrack.storage.failures import mapped_errors, show_path
from localtrack.types import FileInfo

COPY_BYTES: Final = 1 << 20
"""How much of a file is in memory while it is copied."""


class ArtifactRecord(NamedTuple):
    """What the run's log says of an artifact that is in place."""

    path: str
    """Relative to the run's artifact folder, `/`-separated, as it was given."""
    bytes: int
    sha256: str
    """Of the content, in hex."""


# -- planning


def plan_source(
    local_path: str | os.PathLike[str], artifact_folder: str | None = None, *, store_root: str | None = None
) -> list[tuple[str, str]]:
    """Return what `log_artifact` copies: the file under its own name, or a folder under its own with all in it.

    Args:
        local_path: A file or folder.
        artifact_folder: The folder among the artifacts to put it in; the topmost by default.
        store_root: As for `plan_folder`.

    Raises:
        InvalidInputError: As `plan_folder`.
    """
    local_path = os.fspath(local_path)
    name = os.path.basename(os.path.abspath(local_path))
    target = f"{artifact_folder}/{name}" if artifact_folder else name
    if localpaths.kind_of(local_path) == "folder":
        return plan_folder(local_path, target, store_root=store_root)
    validate_artifact_path(target)
    localpaths.require_source(local_path)
    return [(local_path, target)]


def plan_folder(
    local_dir: str | os.PathLike[str], artifact_folder: str | None = None, *, store_root: str | None = None
) -> list[tuple[str, str]]:
    """Return (local path, artifact path) of each file in a folder and those below; everything is checked first.

    As in MLflow links to files are followed. Links to folders are not (MLflow makes empty folders of them): each is
    left out with a warning. Empty folders are left out, since object stores have none.

    Args:
        local_dir: What to log.
        artifact_folder: The folder among the artifacts to put it in; the topmost by default.
        store_root: Where the store lies: left out if it is below `local_dir`, or each call would log all earlier ones
            again.

    Raises:
        InvalidInputError: It is no folder, or holds a name that artifacts cannot have, a FIFO, socket, device or a link
            that leads nowhere.
    """
    local_dir = os.fspath(local_dir)
    if localpaths.kind_of(local_dir) != "folder":
        raise _invalid(f"{show_path(local_dir)} is not a folder.")
    if artifact_folder:
        validate_artifact_path(artifact_folder)
    prefix = f"{artifact_folder}/" if artifact_folder else ""
    planned: list[tuple[str, str]] = []
    leave_out = localpaths.real_path(store_root) if store_root else None
    for path, name in localpaths.walk_sources(local_dir, leave_out=leave_out):
        if not name:
            warnings.warn(f"{show_path(path)} is a link to a folder and was not logged.", stacklevel=3)
            continue
        validate_artifact_path(prefix + name)
        localpaths.require_source(path)
        planned.append((path, prefix + name))
    return planned


# -- writing


def measure_planned(storage: Storage, folder: str, planned: Iterable[tuple[str, str]]) -> tuple[int, int]:
    """Return how many bytes and files more there are once files were put in place; what is replaced goes.

    Args:
        storage: Where the store lies.
        folder: Key of the run's or model's folder.
        planned: Local path and artifact path of each.
    """
    bytes_count = files_count = 0
    for local_path, artifact_path in planned:
        there = storage.stat(f"{folder}/{ARTIFACTS}/{artifact_path}")
        bytes_count += localpaths.size_of(local_path) - (0 if there is None else there.size)
        files_count += there is None
    return bytes_count, files_count


def put_file(storage: Storage, run_folder: str, local_path: str, artifact_path: str) -> ArtifactRecord:
    """Copy a file into a run's artifacts, replacing one of that name. Takes 1 MiB of memory whatever its size.

    Args:
        storage: Where the store lies.
        run_folder: Key of the run's folder.
        local_path: A regular file, or a link to one.
        artifact_path: Its name among the artifacts, folders included.

    Raises:
        InvalidInputError: The name breaks a rule, leads through a link or a file, or names a folder; or the source is
            no regular file.
        StorageError: It could not be read or written; nothing is in place.

    Durability: durable on return.
    """
    key = require_place(storage, run_folder, artifact_path)
    with localpaths.open_source(local_path) as source:
        return _put(storage, key, artifact_path, _read_chunks(source, local_path))


def require_places(storage: Storage, run_folder: str, artifact_paths: Iterable[str]) -> None:
    """Raise what `put_file` would of any of these names, before the first byte of many files is written."""
    for artifact_path in artifact_paths:
        require_place(storage, run_folder, artifact_path)


def put_bytes(storage: Storage, run_folder: str, data: bytes, artifact_path: str) -> ArtifactRecord:
    """Put bytes in place as an artifact. As `put_file`."""
    key = require_place(storage, run_folder, artifact_path)
    return _put(storage, key, artifact_path, iter([data]))


def put_chunks(storage: Storage, run_folder: str, chunks: Iterator[bytes], artifact_path: str) -> ArtifactRecord:
    """Put what comes in pieces in place as an artifact. As `put_file`; when `chunks` raises nothing is in place."""
    return _put(storage, require_place(storage, run_folder, artifact_path), artifact_path, chunks)


def _put(storage: Storage, key: str, artifact_path: str, chunks: Iterator[bytes]) -> ArtifactRecord:
    digest, size = hashlib.sha256(), 0
    new_folders = localpaths.missing_folders(storage.path(posixpath.dirname(key))) if storage.is_local else []
    stream = storage.write_stream(posixpath.dirname(key))
    try:
        for chunk in chunks:
            digest.update(chunk)
            size += len(chunk)
            with mapped_errors(f"Writing {show_path(storage.path(key))}"):
                stream.sink.write(chunk)
        stream.commit(key)
    finally:
        stream.discard()
    localpaths.sync_names(new_folders)
    return ArtifactRecord(artifact_path, size, digest.hexdigest())


def _read_chunks(source: BinaryIO, shown: str) -> Iterator[bytes]:
    while True:
        with mapped_errors(f"Reading {show_path(shown)}"):
            chunk = source.read(COPY_BYTES)
        if not chunk:
            return
        yield chunk


def require_place(storage: Storage, run_folder: str, artifact_path: str) -> str:
    """Return the key for a new artifact; raise unless a file can lie there."""
    validate_artifact_path(artifact_path)
    key = f"{run_folder}/{ARTIFACTS}/{artifact_path}"
    parts = artifact_path.split("/")
    for count in range(1, len(parts)):
        above = "/".join(parts[:count])
        if _kind(storage, f"{run_folder}/{ARTIFACTS}/{above}") in ("file", "other"):
            raise _invalid(f"{artifact_path!r} cannot be an artifact: {above!r} is a file, not a folder.")
    _require_inside(storage, run_folder, posixpath.dirname(key), artifact_path)
    if _kind(storage, key) == "folder":
        raise _invalid(f"{artifact_path!r} cannot be an artifact: it is a folder already.")
    return key


# -- reading


def list_artifacts(storage: Storage, run_folder: str, path: str | None = None) -> list[FileInfo]:
    """Return the files and folders directly in a folder of a run's artifacts, by path.

    Nothing for a path that is a file or is not there, as in MLflow. Unfinished files, links that lead out of the
    artifact folder, FIFOs, sockets and devices are left out.

    Raises:
        InvalidInputError: The path is absolute, climbs, or leads out through a link.
    """
    name = _readable_name(path)
    prefix = f"{name}/" if name else ""
    found = [
        FileInfo(prefix + entry.name, entry.is_folder, None if entry.is_folder else entry.size)
        for entry in _entries(storage, run_folder, name)
    ]
    return sorted(found)


def iter_files(storage: Storage, run_folder: str, path: str | None = None) -> Iterator[FileInfo]:
    """Yield all files in a folder of a run's artifacts and in those below. Links in a circle are not followed.

    Nothing of a run whose artifact folder is itself a link that leads out: it must not stop who goes through all runs.
    """
    name = _readable_name(path)
    if not name and _leads_out(storage, run_folder, _key(run_folder, name)):
        return
    pending: list[tuple[str, tuple[str, ...]]] = [(name, ())]
    while pending:
        folder, above = pending.pop()
        key = _key(run_folder, folder)
        real = localpaths.real_path(storage.path(key)) if storage.is_local else key
        if real in above:
            continue
        for info in list_artifacts(storage, run_folder, folder):
            if info.is_dir:
                pending.append((info.path, (*above, real)))
            else:
                yield info


def resolve(storage: Storage, run_folder: str, path: str | None = None) -> str:
    """Return the key of an artifact file or folder that is there; of the artifact folder without a path.

    Raises:
        InvalidInputError: The path is absolute, climbs, or leads out through a link.
        NotFoundError: There is no such artifact.
    """
    name = _readable_name(path)
    key = _key(run_folder, name)
    _require_inside(storage, run_folder, key, name)
    if name.rpartition("/")[2].startswith(TEMPORARY_PREFIX) or _kind(storage, key) not in ("file", "folder"):
        raise _not_found(name)
    return key


def open_artifact(storage: Storage, run_folder: str, path: str) -> BinaryIO:
    """Open an artifact file for reading.

    Raises:
        InvalidInputError: As `resolve`, or it is a folder.
        NotFoundError: There is no such artifact.
    """
    key = resolve(storage, run_folder, path)
    if _kind(storage, key) == "folder":
        raise _invalid(f"The artifact {path!r} is a folder, not a file.")
    try:
        return storage.open(key)
    except FileNotFoundError:
        raise _not_found(path) from None


def read_artifact(storage: Storage, run_folder: str, path: str) -> bytes | None:
    """Return the bytes of an artifact file; None if there is none. Else as `open_artifact`."""
    try:
        with open_artifact(storage, run_folder, path) as file, mapped_errors(f"Reading {show_path(path)}"):
            return file.read()
    except NotFoundError:
        return None


def download(
    storage: Storage, run_folder: str, path: str | None = "", dst: str | os.PathLike[str] | None = None
) -> str:
    """Return a local path under which an artifact file or folder can be read.

    Args:
        storage: Where the store lies.
        run_folder: Key of the run's folder.
        path: The artifact; all artifacts if empty.
        dst: A folder that exists, to copy into under the artifact's whole path. Without it a store on local files gives
            the artifact's own path (do not write there), and another one a new temporary folder.

    Raises:
        InvalidInputError: As `resolve`, or `dst` is no folder.
        NotFoundError: There is no such artifact.
    """
    name = _readable_name(path)
    if dst is None and storage.is_local:
        return storage.path(resolve(storage, run_folder, name))
    if dst is not None and localpaths.kind_of(os.fspath(dst)) != "folder":
        raise _invalid(f"The destination {show_path(os.fspath(dst))} is not a folder that exists.")
    is_folder = not name or _kind(storage, resolve(storage, run_folder, name)) == "folder"
    target = localpaths.make_temporary_folder() if dst is None else os.path.abspath(os.fspath(dst))
    result = os.path.join(target, *name.split("/")) if name else target
    if not is_folder:
        _copy_out(storage, run_folder, name, result)
        return result
    localpaths.make_local_folder(result)
    for info in iter_files(storage, run_folder, name):
        _copy_out(storage, run_folder, info.path, os.path.join(target, *info.path.split("/")))
    return result


def _copy_out(storage: Storage, run_folder: str, path: str, target: str) -> None:
    with open_artifact(storage, run_folder, path) as source, localpaths.writing_copy(target) as sink:
        for chunk in _read_chunks(source, path):
            sink.write(chunk)


# -- names and places


def _readable_name(path: str | None) -> str:
    """Return a path to read, without `.` and empty parts; "" is the artifact folder.

    Less strict than for writing: other programs may have put files there.
    """
    if path is None:
        return ""
    if not isinstance(path, str):
        raise _invalid(f"An artifact path must be a text, not {path!r}.")
    if path.startswith("/") or "\0" in path or ".." in path.split("/"):
        raise _invalid(f"{path!r} is not an artifact path: it is absolute, climbs or holds a NUL character.")
    return "/".join(part for part in path.split("/") if part not in ("", "."))


def _key(run_folder: str, name: str) -> str:
    return f"{run_folder}/{ARTIFACTS}/{name}" if name else f"{run_folder}/{ARTIFACTS}"


def _entries(storage: Storage, run_folder: str, name: str) -> list[Entry]:
    key = _key(run_folder, name)
    _require_inside(storage, run_folder, key, name)
    if storage.is_local:
        entries = localpaths.scan_within(storage.path(key), _real_root(storage, run_folder))
    else:
        entries = [entry for entry in storage.entries(key) if entry.name not in ("", ".", "..")]
    return [entry for entry in entries if not entry.name.startswith(TEMPORARY_PREFIX)]


def _require_inside(storage: Storage, run_folder: str, key: str, name: str) -> None:
    if _leads_out(storage, run_folder, key):
        raise _invalid(f"{name!r} leads out of the run's artifact folder through a link.")


def _leads_out(storage: Storage, run_folder: str, key: str) -> bool:
    return storage.is_local and not localpaths.is_within(storage.path(key), _real_root(storage, run_folder))


def _real_root(storage: Storage, run_folder: str) -> str:
    # The name of the artifact folder is not resolved: a link in its place leads out of the run's folder.
    return os.path.join(localpaths.real_path(storage.path(run_folder)), ARTIFACTS)


def _kind(storage: Storage, key: str) -> localpaths.Kind | None:
    if storage.is_local:
        return localpaths.kind_of(storage.path(key))
    if storage.entries(key):
        return "folder"
    try:
        storage.open(key).close()
    except FileNotFoundError:
        return None
    return "file"


def _invalid(message: str) -> InvalidInputError:
    return InvalidInputError(message, code=ErrorCode.INVALID_PATH)


def _not_found(name: str) -> NotFoundError:
    what = f"There is no artifact {name!r}." if name else "There are no artifacts."
    return NotFoundError(what, code=ErrorCode.ARTIFACT_NOT_FOUND)
