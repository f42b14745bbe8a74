"""Asks a target what it has already of what its limits are about. Nothing here changes the target."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from localtrack.sync.remote_runs import choose_remote, local_id_of
from localtrack.sync.tracking import Tracking


@dataclass(slots=True)
class UseThere:
    """What a target has already."""

    other_runs: dict[str, int] = field(default_factory=dict)
    """Per experiment of the store how many runs there are no counterparts of the store's, deleted ones too."""
    uncounted: dict[str, str] = field(default_factory=dict)
    """Experiments of the store of which it has more runs than were counted: their names there."""
    experiment_tags: dict[str, set[str]] = field(default_factory=dict)
    """Per experiment of the store the keys of its tags there."""
    params: dict[str, set[str]] = field(default_factory=dict)
    """Per run of the store the keys of its counterpart's params."""
    tags: dict[str, set[str]] = field(default_factory=dict)


def ask_use(
    tracking: Tracking, names: Mapping[str, str], run_ids: Collection[str], *, most_count: int | None = None
) -> UseThere:
    """Return what a target has already of experiments and runs.

    Args:
        tracking: The target.
        names: Experiments of the store by id: their names there.
        run_ids: Those runs of the store whose counterparts are no other runs.
        most_count: How many runs of an experiment are read at most, 500 a request; None for all, of whomever they are.

    Raises:
        SyncError: It cannot be reached, or refuses to answer.
    """
    found = UseThere()
    for experiment_id, name in names.items():
        remote = tracking.find_experiment(name)
        if remote is not None:
            found.experiment_tags[experiment_id] = {tag["key"] for tag in remote.get("tags", [])}
            remote_id = str(remote["experiment_id"])
            if not _ask_runs(tracking, remote_id, experiment_id, set(run_ids), found, most_count):
                found.uncounted[experiment_id] = name
    return found


def _ask_runs(
    tracking: Tracking,
    remote_id: str,
    experiment_id: str,
    run_ids: set[str],
    found: UseThere,
    most_count: int | None,
) -> bool:
    """Count the runs of an experiment, and return whether these are all."""
    ours: dict[str, list[dict[str, Any]]] = defaultdict(list)
    count = 0
    runs = iter(tracking.search_runs(remote_id, view_type="ALL"))
    for run in islice(runs, most_count):
        count += 1
        local_id = local_id_of(run)
        if local_id in run_ids:
            data = run.get("data", {})
            keys = {name: [row["key"] for row in data.get(name, [])] for name in ("params", "tags")}
            ours[local_id].append({"info": run["info"], **keys})
    for local_id, candidates in ours.items():
        chosen = choose_remote(candidates)
        assert chosen is not None
        found.params[local_id], found.tags[local_id] = set(chosen["params"]), set(chosen["tags"])
    found.other_runs[experiment_id] = count - len(ours)
    return most_count is None or next(runs, None) is None
