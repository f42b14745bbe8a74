"""What golden stores are expected to say, with as few words as that takes."""

from __future__ import annotations

from typing import Any

from tests.independent.hand import NOON_MS, STORE_ID

Json = dict[str, Any]
DEFAULT: Json = {
    "0": {"name": "Default", "lifecycle": "active", "tags": {}, "creation_ms": NOON_MS, "last_update_ms": NOON_MS}
}


def a_run(**other: Any) -> Json:
    """A run that has begun at `NOON_MS` and logged nothing, but for what `other` says."""
    return {
        "experiment_id": "0",
        "name": "",
        "user": "ada",
        "status": "RUNNING",
        "start_ms": NOON_MS,
        "end_ms": None,
        "params": {},
        "tags": {},
        "artifacts": {},
        "lifecycle": "active",
        "points": [],
        "last": {},
    } | other


def a_model(**other: Any) -> Json:
    """A logged model called `net`, made at `NOON_MS`, of which nothing more is known but for what `other` says."""
    return {
        "experiment_id": "0",
        "name": "net",
        "source_run": None,
        "model_type": None,
        "status": "PENDING",
        "status_message": None,
        "created_ms": NOON_MS,
        "updated_ms": NOON_MS,
        "params": {},
        "tags": {},
        "artifacts": {},
        "lifecycle": "active",
        "metrics": [],
    } | other


def an_experiment(name: str, created_ms: int | None, updated_ms: int | None = None, **other: Any) -> Json:
    """An active experiment; `updated_ms` is left out if it is the time of its creation."""
    return {
        "name": name,
        "lifecycle": "active",
        "tags": {},
        "creation_ms": created_ms,
        "last_update_ms": created_ms if updated_ms is None else updated_ms,
    } | other


def a_store(
    runs: Json | None = None,
    experiments: Json | None = None,
    findings: list[tuple[str, str]] | None = None,
    models: Json | None = None,
) -> Json:
    """What `read_store` gives. `experiments` come besides Default."""
    return ({"models": dict(sorted(models.items()))} if models else {}) | {
        "store": STORE_ID,
        "experiments": dict(sorted((DEFAULT | (experiments or {})).items())),
        "runs": dict(sorted((runs or {}).items())),
        "findings": sorted(list(finding) for finding in findings or []),
    }
