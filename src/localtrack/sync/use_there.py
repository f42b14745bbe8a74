"""Asks a target what it has already of what its limits are about. Nothing here changes the target."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from localtrack.errors import InvalidInputError
from localtrack.sync.http import Http
from localtrack.sync.remote_runs import choose_remote, local_id_of
from localtrack.sync.target import Target
from localtrack.sync.tracking import Tracking


@dataclass(slots=True)
class UseThere:
    """What a target has already."""

    other_runs: dict[str, int] = field(default_factory=dict)
    """Per experiment of the store how many runs there are no counterparts of the store's, deleted ones too."""
    experiment_tags: dict[str, set[str]] = field(default_factory=dict)
    """Per experiment of the store the keys of its tags there."""
    params: dict[str, set[str]] = field(default_factory=dict)
    """Per run of the store the keys of its counterpart's params."""
    tags: dict[str, set[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    """Sentences about what could not be asked."""


def ask_use(target: Target, names: Mapping[str, str], run_ids: Collection[str], *, prefix: str = "") -> UseThere:
    """Return what a target has already of experiments and runs.

    Args:
        target: The target. All runs of the experiments are read, 500 a request: so many of other people, too.
        names: Experiments of the store by id: their names.
        run_ids: Those runs of the store whose counterparts are no other runs.
        prefix: Put before each experiment's name.

    Raises:
        SyncError: It cannot be reached, or refuses to answer.
    """
    found = UseThere()
    http = Http(target.connection, requests_per_s=target.limits.requests_per_s)
    try:
        tracking = Tracking(http)
        for experiment_id, name in names.items():
            try:
                remote = tracking.find_experiment(target.experiment_name(prefix + name))
            except InvalidInputError as error:
                found.notes.append(str(error))
                continue
            if remote is not None:
                found.experiment_tags[experiment_id] = {tag["key"] for tag in remote.get("tags", [])}
                _ask_runs(tracking, str(remote["experiment_id"]), experiment_id, set(run_ids), found)
    finally:
        http.close()
    return found


def _ask_runs(tracking: Tracking, remote_id: str, experiment_id: str, run_ids: set[str], found: UseThere) -> None:
    ours: dict[str, list[dict[str, Any]]] = defaultdict(list)
    count = 0
    for run in tracking.search_runs(remote_id, view_type="ALL"):
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
