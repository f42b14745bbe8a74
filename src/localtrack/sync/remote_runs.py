"""Runs of the target that carry the id of a local one, told by a tag. Nothing here changes the target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from localtrack.errors import SyncError
from localtrack.sync.context import PushContext
from localtrack.sync.source import LocalRun
from localtrack.sync.translation import RUN_ID_TAG


def find_by_tag(context: PushContext, local: LocalRun) -> dict[str, Any] | None:
    """Return the run of the target that carries a local run's id; None if there is none."""
    experiment = context.experiments[local.experiment_id]
    found = context.tracking.search_runs(experiment, f"tags.`{RUN_ID_TAG}` = {quote(local.run_id)}")
    # A target that does not know the filter may give all.
    return choose_remote([run for run in found if local_id_of(run) == local.run_id])


def choose_remote(found: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the one of several runs for one local run that counts: not a deleted one, then the one with the least id.

    Whoever looks chooses the same.
    """
    return min(
        found,
        key=lambda run: (not is_living(run), str(run["info"]["run_id"])),
        default=None,
    )


def is_living(run: Mapping[str, Any]) -> bool:
    """Return whether a run of the target is not deleted."""
    return bool(run["info"].get("lifecycle_stage") != "deleted")


def local_id_of(run: Mapping[str, Any]) -> str:
    """Return the local id that a run of the target carries; empty if it carries none."""
    return next((row.get("value", "") for row in run.get("data", {}).get("tags", []) if row["key"] == RUN_ID_TAG), "")


def quote(text: str) -> str:
    """Return a text as a literal of MLflow's filter language.

    Raises:
        SyncError: It holds both kinds of quotes, which that language cannot write.
    """
    if "'" not in text:
        return f"'{text}'"
    if '"' not in text:
        return f'"{text}"'
    raise SyncError(f"The run id {text!r} cannot be searched for on the target: it holds both kinds of quotes.")
