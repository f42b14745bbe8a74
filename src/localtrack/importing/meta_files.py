"""The small files of MLflow's file backend: `meta.yaml`, and one file for each param and tag."""

from __future__ import annotations

import os
from typing import Any

from localtrack.errors import InvalidInputError, MissingPackageError
from localtrack.format.names import validate_key
from localtrack.importing.report import Findings

META_FILE = "meta.yaml"


def require_yaml() -> None:
    """Raise `MissingPackageError` if there is no YAML library."""
    try:
        import yaml  # type: ignore[import-untyped]  # noqa: F401  # ships no types; only whether it is there
    except ImportError as error:
        raise MissingPackageError.of("Reading an mlruns folder", "PyYAML", extra="mlruns") from error


def read_meta(folder: str, name: str, findings: Findings) -> dict[str, Any] | None:
    """Return what a folder's `meta.yaml` says; None, reported, if it is missing or cannot be read.

    Args:
        folder: The folder.
        name: Of the file, for the finding.
        findings: Where it is reported.
    """
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        with open(os.path.join(folder, META_FILE), "rb") as file:
            fields = yaml.load(file, Loader=loader)
    except FileNotFoundError:
        findings.note(name, "it is missing")
        return None
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        findings.note(name, f"it cannot be read ({_first_line(error)})")
        return None
    if not isinstance(fields, dict):
        findings.note(name, "it holds no fields")
        return None
    return fields


def read_values(folder: str, kind: str, name: str, findings: Findings) -> tuple[dict[str, str], bool]:
    """Return the params or tags below a folder, one file each, and whether all could be read.

    Args:
        folder: `params` or `tags` of a run or experiment. Keys with slashes lie in folders below.
        kind: What they are, for findings.
        name: Of the folder, for findings.
        findings: Where what cannot be read is reported.
    """
    values: dict[str, str] = {}
    is_whole = True
    for path, key in walk_keys(folder, name, findings):
        shown = f"{name}/{printable_name(key)}"
        try:
            validate_key(key, kind)
            with open(path, "rb") as file:
                values[key] = file.read().decode()
        except (OSError, UnicodeDecodeError) as error:
            findings.note(shown, f"it cannot be read ({_first_line(error)})")
            is_whole = False
        except InvalidInputError as error:
            findings.note(shown, error.message.rstrip("."))
    return values, is_whole


def walk_keys(folder: str, name: str, findings: Findings) -> list[tuple[str, str]]:
    """Return (path, key) of each file below a folder, by key; nothing if there is no folder."""
    found: list[tuple[str, str]] = []
    pending = [(folder, "")]
    while pending:
        path, prefix = pending.pop()
        try:
            with os.scandir(path) as listing:
                items = list(listing)
        except FileNotFoundError:
            continue
        except OSError as error:
            findings.note(f"{name}/{printable_name(prefix)}".rstrip("/"), f"it cannot be listed ({_first_line(error)})")
            continue
        for item in items:
            if item.is_dir(follow_symlinks=False):
                pending.append((item.path, f"{prefix}{item.name}/"))
            else:
                found.append((item.path, prefix + item.name))
    return sorted(found, key=lambda pair: pair[1])


def printable_name(name: str) -> str:
    """Return a file name as text that can be printed and encoded, also where it is not UTF-8."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _first_line(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return str(error).partition("\n")[0] or type(error).__name__
