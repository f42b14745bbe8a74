"""Files and folders of the user as artifacts: planned as a whole, then put in place one by one."""

from __future__ import annotations

import os
from collections.abc import Callable

from localtrack.store.artifacts import plan_folder, plan_source

PutFile = Callable[[str, str], object]
"""Puts a local file in place under an artifact path."""


def log_path(put_file: PutFile, local_path: str | os.PathLike[str], artifact_path: str | None = None) -> None:
    """Put a file, or a folder with all that it holds, into a folder of the artifacts.

    Raises:
        InvalidInputError: See `plan_folder`; nothing was put.
    """
    for source, target in plan_source(local_path, artifact_path):
        put_file(source, target)


def log_folder(
    put_file: PutFile,
    local_dir: str | os.PathLike[str],
    artifact_path: str | None = None,
    *,
    store_root: str | None = None,
) -> None:
    """Put what a folder holds into a folder of the artifacts. Arguments and errors are those of `plan_folder`."""
    for source, target in plan_folder(local_dir, artifact_path, store_root=store_root):
        put_file(source, target)
