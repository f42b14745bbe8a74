"""A store and a source, compared in every field by code that knows neither the library nor the importer."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from tests.independent.reader import read_store
from tests.independent.runs import run_key

SOURCE_ID_TAG = "localtrack.sourceExperimentId"
FIELDS = ("name", "user", "status", "start_ms", "end_ms", "lifecycle", "params", "tags")


def compare(store: Path, source: dict[str, Any], *, only_runs: set[str] | None = None) -> list[str]:
    """Return how a store differs from what is in a source; nothing if the import was whole.

    Args:
        store: The store.
        source: What `MlflowData.read` gave.
        only_runs: The only runs to look at; what else is in the store is told as well by default.
    """
    here = read_store(store)
    problems = [f"finding {finding}" for finding in here["findings"]]
    names = {id_: experiment["name"] for id_, experiment in here["experiments"].items()}
    by_name = {experiment["name"]: experiment for experiment in here["experiments"].values()}
    for name, there in source["experiments"].items():
        if name not in by_name:
            problems.append(f"experiment {name!r} is missing")
            continue
        mine = {key: value for key, value in by_name[name].items() if key != "name"}
        mine["tags"] = {key: value for key, value in mine["tags"].items() if key != SOURCE_ID_TAG}
        if mine != there:
            problems.append(f"experiment {name!r}: {mine} is not {there}")
    if only_runs is None:
        problems += [f"experiment {name!r} is too many" for name in by_name if name not in source["experiments"]]
        problems += [f"run {run} is too many" for run in here["runs"] if run not in source["runs"]]
    for run, there in source["runs"].items():
        if only_runs is not None and run not in only_runs:
            continue
        if run not in here["runs"]:
            problems.append(f"run {run} is missing")
            continue
        mine = here["runs"][run]
        if names[mine["experiment_id"]] != there["experiment"]:
            problems.append(f"run {run} is in {names[mine['experiment_id']]!r}, not in {there['experiment']!r}")
        problems += [
            f"run {run}: {field} is {mine[field]!r}, not {there[field]!r}"
            for field in FIELDS
            if mine[field] != there[field]
        ]
        problems += _compare_points(run, mine["points"], there["points"])
        problems += _compare_artifacts(store / run_key(run) / "artifacts", run, mine["artifacts"], there["artifacts"])
    return problems


def _compare_points(run: str, mine: list[list[Any]], there: set[tuple[Any, ...]]) -> list[str]:
    points = {(key, time, step, _plain(value)) for key, time, step, value in mine}
    problems = [] if len(points) == len(mine) else [f"run {run}: points stand there twice"]
    missing, more = there - points, points - there
    if missing:
        problems.append(f"run {run}: {len(missing)} points are missing, such as {sorted(missing, key=str)[:3]}")
    if more:
        problems.append(f"run {run}: {len(more)} points are too many, such as {sorted(more, key=str)[:3]}")
    return problems


def _plain(value: float | str) -> float | str:
    return value if isinstance(value, str) else value + 0.0  # MLflow's SQL has no negative zero


def _compare_artifacts(folder: Path, run: str, mine: dict[str, int], there: dict[str, bytes]) -> list[str]:
    if mine.keys() != there.keys():
        return [f"run {run}: the artifacts are {sorted(mine)}, not {sorted(there)}"]
    return [
        f"run {run}: artifact {path} differs" for path, data in there.items() if (folder / path).read_bytes() != data
    ]


def count_written_points(store: Path) -> int:
    """Return how many points the open and closed logs, chunks and segments hold, each copy of a point counted."""
    return sum(sum(points for _, points in run.positions.values()) for run in _folders(store))


def _folders(store: Path) -> list[Any]:
    from tests.independent.runs import read_run

    return [read_run(store, f"runs/{path.parent.name}/{path.name}") for path in sorted((store / "runs").glob("*/*"))]


def digest_tree(folder: Path, *, but: tuple[str, ...] = ("inbox", "locks", "index")) -> dict[str, str]:
    """Return the SHA-256 of each file below a folder."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.relative_to(folder).parts[0] not in but
    }
