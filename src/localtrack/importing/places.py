"""Where the artifacts of a run lie: from what MLflow recorded, whenever and wherever, to a folder that is there."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO, Final
from urllib.parse import unquote, urlsplit

from localtrack.errors import LocaltrackError
from localtrack.importing.report import Findings
from localtrack.redaction import mask_url
from localtrack.storage import localpaths
from localtrack.storage.base import Storage
from localtrack.storage.opening import open_storage

_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]+):")
_SERVED: Final = "mlflow-artifacts"
"""Scheme of artifacts that a server keeps in a folder of its own."""
_SERVED_FOLDER: Final = "mlartifacts"
"""That folder, unless the server was told another one."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file among the artifacts of the source."""

    name: str
    """`/`-separated, relative to the artifact folder."""
    open: Callable[[], BinaryIO]
    """Opens it for reading; raises `LocaltrackError` or `OSError` if that cannot be."""


class ArtifactPlaces:
    """Finds the artifact folders of one source.

    Args:
        base_folders: What relative locations may be relative to.
        artifact_root: Where the user says that artifacts lie now, by experiment and run.
        not_around: The source and the store: a folder that holds one of them is no artifact folder, whatever is
            recorded, and copying it would never end.
    """

    def __init__(
        self, base_folders: Sequence[str], artifact_root: str | None, *, not_around: Sequence[str] = ()
    ) -> None:
        self._base_folders = list(base_folders)
        self._artifact_root = artifact_root
        self._not_around = [localpaths.real_path(path) for path in not_around]
        self.missing: list[str] = []
        """Locations that are not there, of runs that may have had no artifacts."""

    def iter_files(self, locations: Sequence[str], *, is_needed: bool, findings: Findings) -> Iterator[SourceFile]:
        """Yield the files of the first of these locations that holds some.

        Args:
            locations: Paths and URIs.
            is_needed: There must be artifacts: that none are found is reported with the run.
            findings: Where problems are reported.
        """
        is_there = False
        locations = [location for location in locations if location]
        for location in locations:
            for folder in self._local_folders(location):
                if not os.path.isdir(folder):
                    continue
                if any(localpaths.is_within(path, localpaths.real_path(folder)) for path in self._not_around):
                    findings.note("artifacts", f"{_shown(location)} holds the source or the store, and was left out")
                    return
                is_there = True
                files = _list_local(folder, findings)
                if files:
                    yield from files
                    return
            scheme = _scheme_of(location)
            if scheme not in ("", "file", _SERVED):
                try:
                    remote = _list_remote(open_storage(location), "")
                except (LocaltrackError, OSError, ImportError, ValueError) as error:
                    findings.note("artifacts", f"they lie at {_shown(location)}, which cannot be read ({error})")
                    return
                is_there = True
                if remote:
                    yield from remote
                    return
        if is_needed and locations:
            findings.note("artifacts", f"none are found at {_shown(locations[-1])}, where they should be")
        elif not is_there and locations:
            self.missing.append(mask_url(locations[-1]))

    def _local_folders(self, location: str) -> list[str]:
        """Return the paths at which a location may be found on this machine, the likeliest first."""
        scheme = _scheme_of(location)
        path = unquote(urlsplit(location).path) if scheme else location
        if re.match(r"/[A-Za-z]:[/\\]", path):
            path = path[1:]
        tail = path.replace("\\", "/").strip("/").split("/")
        found: list[str] = []
        if self._artifact_root is not None:
            # `<experiment>/<run>/artifacts`, or what else there is of it
            found += [os.path.join(self._artifact_root, *tail[-count:]) for count in (3, 4, 2) if count <= len(tail)]
        if scheme == _SERVED:
            found += [os.path.join(base, _SERVED_FOLDER, *tail) for base in self._base_folders]
        elif scheme in ("", "file"):
            if os.path.isabs(path):
                found.append(path)
            else:
                found += [os.path.join(base, path) for base in self._base_folders]
            if "mlruns" in tail:
                # The folder was moved together with what was imported.
                rest = tail[len(tail) - tail[::-1].index("mlruns") :]
                found += [os.path.join(base, "mlruns", *rest) for base in self._base_folders]
        return found


def _list_local(folder: str, findings: Findings) -> list[SourceFile]:
    try:
        paths = list(localpaths.walk_sources(folder))
    except LocaltrackError as error:
        findings.note("artifacts", error.message.rstrip("."))
        return []
    found: list[SourceFile] = []
    for path, name in paths:
        if name:
            found.append(SourceFile(name, partial(localpaths.open_source, path)))
        else:
            link = os.fsencode(os.path.relpath(path, folder)).decode("utf-8", "backslashreplace")
            findings.note(f"artifacts/{link}", "it is a link to a folder and was left out")
    return found


def _list_remote(storage: Storage, folder: str) -> list[SourceFile]:
    found: list[SourceFile] = []
    for entry in sorted(storage.entries(folder)):
        name = f"{folder}/{entry.name}" if folder else entry.name
        if entry.is_folder:
            found += _list_remote(storage, name)
        else:
            found.append(SourceFile(name, partial(storage.open, name)))
    return found


def _scheme_of(location: str) -> str:
    match = _SCHEME.match(location)
    return match[1].lower() if match else ""


def _shown(location: str) -> str:
    location = mask_url(location)
    return location if len(location) <= 200 else f"{location[:199]}…"
