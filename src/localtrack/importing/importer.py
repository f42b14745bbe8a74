"""The whole of an import: experiments, then their runs, one by one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from itertools import chain
from typing import Any, Final

from localtrack.errors import ErrorCode, FormatError, InvalidInputError
from localtrack.format.documents import ExperimentDocument
from localtrack.format.ids import parse_run_id
from localtrack.importing.experiments import REMOVED, bring_experiment
from localtrack.importing.models import ModelImport, is_model_removed_for_good
from localtrack.importing.places import ArtifactPlaces
from localtrack.importing.report import ImportReport, Progress
from localtrack.importing.runs import RunImport, is_removed_for_good
from localtrack.importing.source import FROM, Source, SourceExperiment
from localtrack.importing.target import Target
from localtrack.storage.locks import maintenance_lock
from localtrack.store.catalog import Catalog
from localtrack.store.runs import Runs
from localtrack.store.site import Site
from localtrack.types import Finding

_AT_ONCE: Final = 200
"""Runs, or models, whose deletion is recorded in one write."""
_LOCK_PATIENCE_S: Final = 60.0


def import_source(
    site: Site,
    catalog: Catalog,
    runs: Runs,
    source: Source,
    *,
    is_dry: bool = False,
    artifact_root: str | None = None,
    progress: Progress | None = None,
) -> ImportReport:
    """Bring everything of a source into a store that the store does not have.

    Args:
        site: The store.
        catalog: Its experiments.
        runs: Its runs.
        source: What is read.
        is_dry: Write nothing; the report says what would be done.
        artifact_root: Where artifacts lie that are not where the source says.
        progress: Told how far it is.

    Raises:
        StorageError: The store cannot be written to. What was brought is there, and the next import goes on.
        LockedError: Another import into the store goes on.

    Durability: as that of a run that was logged: handed to the operating system on return, on the disk within seconds.

    Concurrency: others may read and write the store, and MLflow the source, meanwhile.
    """
    report = ImportReport(source.uri)
    not_around = [source.path, *([site.storage.uri] if site.storage.is_local else [])]
    places = ArtifactPlaces(source.base_folders, artifact_root, not_around=not_around)
    target = Target(site, catalog, runs, places, report, is_dry)
    with nullcontext() if is_dry else maintenance_lock(site.storage, "import", timeout_s=_LOCK_PATIENCE_S):
        experiments = source.list_experiments()
        total_count = sum(len(experiment.run_keys) + len(experiment.model_keys) for experiment in experiments)
        done_count = 0
        if progress is not None:
            progress(0, total_count)
        seen: set[str] = set()
        for there in experiments:
            document = bring_experiment(target, source, there)
            report.findings += there.findings.found
            runs_and_models = chain(
                _bring_runs(target, source, there, document, seen), _bring_models(target, source, there, document)
            )
            for _ in runs_and_models:
                done_count += 1
                if progress is not None:
                    progress(done_count, total_count)
    report.findings += [*source.findings.found, *_describe_missing(target.places.missing)]
    return report


def _bring_runs(
    target: Target, source: Source, there: SourceExperiment, document: ExperimentDocument, seen: set[str]
) -> Iterator[None]:
    """Bring the runs of an experiment, and yield after each."""
    for start in range(0, len(there.run_keys), _AT_ONCE):
        batch = [source.read_run(run_key) for run_key in there.run_keys[start : start + _AT_ONCE]]
        edits = target.catalog.read()
        changed = [
            (run.run_id, run.is_deleted, run.deleted_ms)
            for run in batch
            if run.run_id not in edits.tombstones and edits.imported_runs.get(run.run_id, False) != run.is_deleted
        ]
        _record_life_cycles(target, "runs", changed)
        for run in batch:
            if run.run_id in seen:
                run.findings.note("", "a run of this id came before; what is new in it was added to that one")
            seen.add(run.run_id)
            try:
                if is_removed_for_good(target, run.run_id, edits):
                    run.findings.note("", REMOVED, severity="info")
                    target.report.runs_unchanged += 1
                else:
                    RunImport(target, run, document).bring()
            except (FormatError, InvalidInputError) as error:
                run.findings.note("", error.message.rstrip("."), severity="error")
                target.report.runs_failed += 1
            target.report.findings += run.findings.found
            yield


def _bring_models(
    target: Target, source: Source, there: SourceExperiment, document: ExperimentDocument
) -> Iterator[None]:
    """Bring the logged models of an experiment, and yield after each."""
    for start in range(0, len(there.model_keys), _AT_ONCE):
        batch = [source.read_model(model_key) for model_key in there.model_keys[start : start + _AT_ONCE]]
        edits = target.catalog.read()
        _record_life_cycles(
            target,
            "models",
            [
                (m.model_id, m.is_deleted, m.updated_ms)
                for m in batch
                if m.model_id not in edits.model_tombstones
                and edits.imported_models.get(m.model_id, False) != m.is_deleted
            ],
        )
        for model in batch:
            try:
                if is_model_removed_for_good(target, model.model_id, edits):
                    model.findings.note("", REMOVED, severity="info")
                    target.report.models_unchanged += 1
                else:
                    ModelImport(target, model, document).bring()
            except (FormatError, InvalidInputError) as error:
                model.findings.note("", error.message.rstrip("."), severity="error")
                target.report.models_failed += 1
            target.report.findings += model.findings.found
            yield


def _record_life_cycles(target: Target, kind: str, changed: list[tuple[str, bool, int | None]]) -> None:
    """Record which runs or models were deleted or restored in the source since the last import.

    Before they are brought themselves, so that what is deleted is never shown as active.

    Args:
        target: The store.
        kind: `runs` or `models`.
        changed: Id, whether it is deleted, and since when, each.
    """
    records: list[tuple[str, dict[str, Any]]] = []
    for entity_id, is_deleted, time_ms in changed:
        try:
            parse_run_id(entity_id)
        except InvalidInputError:
            continue  # told when it is brought
        op = "deleted" if is_deleted else "restored"
        time_ms = target.site.clock() if time_ms is None else time_ms
        records.append((kind, {"op": op, kind: [entity_id], "time_ms": time_ms, "user": "", "imported": FROM}))
    target.report.life_cycles_changed += len(records)
    if records and not target.is_dry:
        target.catalog.add_life_cycles(*records)


def _describe_missing(locations: list[str]) -> list[Finding]:
    if not locations:
        return []
    what = (
        f"{len(locations)} runs or models have no artifact folder where one would be, as those without artifacts; "
        "where others lie now, --artifact-root says"
    )
    return [Finding(locations[0], what, ErrorCode.ARTIFACT_NOT_FOUND, "info")]
