"""Which experiment of the store an experiment of the source is, and what is brought of it.

It is told by its name, not by its id. In a store the id of an experiment follows from its name, so that
`set_experiment(name)` goes on in what was imported, stores that merge have one experiment of a name, and the sources of
two machines, both of which number their experiments from 1, do not run into one another. The id in the source is kept
as a tag. Runs that were imported before lead to their experiment also after it was renamed, there or here.
"""

from __future__ import annotations

from typing import Any, Final

from localtrack.errors import InvalidInputError, LocaltrackError
from localtrack.format.documents import ExperimentDocument
from localtrack.format.edits import ExperimentState
from localtrack.format.names import validate_experiment_name
from localtrack.importing.changes import judge, plan_tags
from localtrack.importing.source import Source, SourceExperiment
from localtrack.importing.target import Target
from localtrack.store.run_reading import read_run
from localtrack.store.site import ensure_experiment_file
from localtrack.types import DEFAULT_EXPERIMENT_ID, DEFAULT_EXPERIMENT_NAME

SOURCE_ID_TAG: Final = "localtrack.sourceExperimentId"
"""Tag with the ids that an experiment had where it came from, separated by commas."""
REMOVED: Final = "it was removed for good here, and is not brought again"
_LOOKED_FOR_COUNT: Final = 50
"""So many runs of an experiment are looked for in the store."""

Edit = tuple[str, dict[str, Any], str]


def bring_experiment(target: Target, source: Source, there: SourceExperiment) -> ExperimentDocument:
    """Make the experiment of the source, or add to it what is new, and return where new runs belong."""
    name = _checked_name(there)
    state = _find_by_runs(target, source, there)
    is_known = state is not None
    if state is None:
        state = target.catalog.find_by_name(name)
    if state is None and (removed := _find_removed(target, source, there)) is not None:
        there.findings.note("", REMOVED, severity="info")
        return removed
    if state is None or _is_half_made(state, there):
        return _make(target, there, name, state)
    _extend(target, there, name, state, is_known=is_known)
    return ExperimentDocument(state.experiment_id, state.original_name, state.generation)


def _is_half_made(state: ExperimentState, there: SourceExperiment) -> bool:
    """Return whether an import was cut off while it made the experiment: the last edit, its tags, is missing."""
    if state.experiment_id == DEFAULT_EXPERIMENT_ID:
        return False
    if state.imported is None:
        return state.created_ms is None
    return (
        state.imported.is_made and state.imported.sources == {there.mark} and SOURCE_ID_TAG not in state.imported.tags
    )


def _make(target: Target, there: SourceExperiment, name: str, state: ExperimentState | None) -> ExperimentDocument:
    if state is None:
        document = target.catalog.plan_experiment(name)
    else:
        document = ExperimentDocument(state.experiment_id, state.original_name, state.generation)
    created_ms = target.site.clock() if there.created_ms is None else there.created_ms
    updated_ms = created_ms if there.updated_ms is None else there.updated_ms
    edits: list[tuple[str, dict[str, Any]]] = [
        ("created", {"name": name, "generation": document.generation, "time_ms": created_ms})
    ]
    if there.is_deleted:
        edits.append(("deleted", {"time_ms": updated_ms}))
    elif updated_ms != created_ms:
        edits.append(("renamed", {"name": name, "time_ms": updated_ms}))  # the last update keeps its time
    edits.append(("tagged", {"tags": {**there.tags, SOURCE_ID_TAG: there.source_id}}))
    if not target.is_dry:
        ensure_experiment_file(target.site.storage, document)
        _write(target, there, document.experiment_id, edits)
    target.report.experiments_added += 1
    return document


def _extend(target: Target, there: SourceExperiment, name: str, state: ExperimentState, *, is_known: bool) -> None:
    base = state.imported
    tags, conflicts = plan_tags(
        there.tags,
        state.tags,
        {} if base is None else {key: value for key, value in base.tags.items() if key != SOURCE_ID_TAG},
        is_whole=there.are_tags_whole and base is not None and base.sources == {there.mark},
    )
    for key in conflicts:
        there.findings.note(f"tags/{key}", "it has another value here, which stays", severity="info")
    source_ids = set(filter(None, state.tags.get(SOURCE_ID_TAG, "").split(",")))
    if there.source_id not in source_ids:
        tags[SOURCE_ID_TAG] = ",".join(sorted(source_ids | {there.source_id}))
    edits: list[tuple[str, dict[str, Any]]] = []
    is_first = base is None or SOURCE_ID_TAG not in base.tags
    if is_first and state.experiment_id == DEFAULT_EXPERIMENT_ID and there.created_ms is not None:
        # Default is there in every store; it is as old as the oldest of what it holds.
        edits.append(("created", {"name": name, "generation": state.generation, "time_ms": there.created_ms}))
        if there.updated_ms not in (None, there.created_ms):
            edits.append(("renamed", {"name": name, "time_ms": there.updated_ms}))
    if tags:
        edits.append(("tagged", {"tags": tags}))
    if base is not None and base.is_made and is_known and base.sources == {there.mark}:
        if judge(there.is_deleted, state.is_deleted, base.is_deleted) == "take":
            time = {} if there.updated_ms is None else {"time_ms": there.updated_ms}
            edits.append(("deleted" if there.is_deleted else "restored", time))
            target.report.life_cycles_changed += 1
    elif there.is_deleted and not state.is_deleted:
        there.findings.note(
            "", "it is deleted there and not here, where it has runs of other origin as well", severity="info"
        )
    if name not in (state.name, state.original_name):
        there.findings.note(
            "", f"it is called {name!r} there and {state.name!r} here; the name here stays", severity="info"
        )
    if edits:
        if not target.is_dry:
            _write(target, there, state.experiment_id, edits)
        if tags:
            target.report.experiments_extended += 1


def _write(
    target: Target, there: SourceExperiment, experiment_id: str, edits: list[tuple[str, dict[str, Any]]]
) -> None:
    mark = {"user": "", "imported": there.mark}
    target.catalog.add_edits(*((op, {**payload, **mark}, experiment_id) for op, payload in edits))


def _find_removed(target: Target, source: Source, there: SourceExperiment) -> ExperimentDocument | None:
    """Return the experiment that an import has made of this one, if it was removed for good and nothing is new."""
    edits = target.catalog.read()
    for state in edits.removed_experiments.values():
        if state.imported is not None and there.mark in state.imported.sources:
            break
    else:
        return None
    are_runs_gone = all(source.run_id(key) in edits.tombstones for key in there.run_keys)
    if not are_runs_gone or any(source.read_model(k).model_id not in edits.model_tombstones for k in there.model_keys):
        return None
    return ExperimentDocument(state.experiment_id, state.original_name, state.generation)


def _checked_name(there: SourceExperiment) -> str:
    try:
        return validate_experiment_name(there.name)
    except InvalidInputError as error:
        name = f"mlflow {there.source_id}"
        there.findings.note("", f"it is called {name!r}: {error.message.rstrip('.')}")
        return name


def _find_by_runs(target: Target, source: Source, there: SourceExperiment) -> ExperimentState | None:
    """Return the experiment that runs of this one, imported before, belong to."""
    if there.source_id == DEFAULT_EXPERIMENT_ID and there.name == DEFAULT_EXPERIMENT_NAME:
        return target.catalog.find(DEFAULT_EXPERIMENT_ID)
    for run_key in there.run_keys[:_LOOKED_FOR_COUNT]:
        run_id = source.run_id(run_key)
        try:
            reading = read_run(target.site.storage, run_id)
        except LocaltrackError as error:
            there.findings.note("", f"run {run_id} cannot be read here: {error.message.rstrip('.')}")
            continue
        if reading is not None and reading.is_run and not reading.is_newer:
            return target.catalog.read().experiments.get(reading.state.experiment_id)
    return None
