"""Experiments as a workspace shows them: their names are paths, and paths make folders."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from localtrack.types import Experiment


@dataclass(frozen=True, slots=True)
class Subfolder:
    """A folder directly in another one."""

    path: str
    """Its whole path, without a slash at the end."""
    experiments_count: int
    """How many experiments are in it and below."""


@dataclass(frozen=True, slots=True)
class ExperimentFolder:
    """What lies in a folder."""

    path: str
    """Its whole path, without a slash at the end; `/` for the topmost."""
    folders: tuple[Subfolder, ...]
    experiments: tuple[Experiment, ...]


def browse(experiments: Iterable[Experiment], path: str) -> ExperimentFolder:
    """Return what lies directly in a folder.

    Args:
        experiments: All there are.
        path: The folder; `/` or nothing is the topmost, in which `/Shared` and `Shared` are two folders. An experiment
            of just this name is shown too, as a listing of files shows a file that it is given.
    """
    folder = path.rstrip("/")
    counts: dict[str, int] = {}
    inside: list[Experiment] = []
    for experiment in experiments:
        if folder and experiment.name == folder:
            inside.append(experiment)
            continue
        below = _below(experiment.name, folder)
        if below is None:
            continue
        first, slash, rest = below[1:].partition("/")
        # What begins or ends with a slash, or has two in a row, leads into no folder.
        if slash and first and rest:
            step = below[0] + first
            counts[step] = counts.get(step, 0) + 1
        else:
            inside.append(experiment)
    folders = [Subfolder(folder + step if folder else step.removeprefix("\0"), count) for step, count in counts.items()]
    return ExperimentFolder(
        folder or "/",
        tuple(sorted(folders, key=lambda f: f.path)),
        tuple(sorted(inside, key=lambda e: (e.name, e.experiment_id))),
    )


def _below(name: str, folder: str) -> str | None:
    """Return the part of a name below a folder, with one character before it; None if it does not lie there.

    That character is the slash, or at the top, for a name that does not begin with one, a NUL, which no name has.
    """
    if folder:
        return name[len(folder) :] if name.startswith(f"{folder}/") and len(name) > len(folder) + 1 else None
    return name if name.startswith("/") else f"\0{name}"
