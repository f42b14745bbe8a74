"""The whole of an import: experiments, then their runs, one by one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any, Final

from localtrack.errors import ErrorCode, FormatError, InvalidInputError
from localtrack.format.documents import ExperimentDocument
from localtrack.format.ids import parse_run_id
from localtrack.importing.experiments import bring_experiment
from localtrack.importing.places import ArtifactPlaces
from localtrack.importing.report import ImportReport, Progress
from localtrack.importing.runs import RunImport, is_removed_for_good
from localtrack.importing.source import FROM, Source, SourceExperiment, SourceRun
from localtrack.importing.target import Target
from localtrack.storage.locks import maintenance_lock
from localtrack.store.catalog import Catalog
from localtrack.store.runs import Runs
from localtrack.store.site import Site
from localtrack.types import Finding

_RUNS_AT_ONCE: Final = 200
"""Runs whose deletion is recorded in one write."""
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

    Durability: as that of a run that was logged.

    Concurrency: others may read and write the store, and MLflow the source, meanwhile.
    """
    report = ImportReport(source.uri)
    target = Target(site, catalog, runs, ArtifactPlaces(source.base_folders, artifact_root), report, is_dry)
    with nullcontext() if is_dry else maintenance_lock(site.storage, "import", timeout_s=_LOCK_PATIENCE_S):
        experiments = source.list_experiments()
        total_count = sum(len(experiment.run_keys) for experiment in experiments)
        done_count = 0
        if progress is not None:
            progress(0, total_count)
        seen: set[str] = set()
        for there in experiments:
            document = bring_experiment(target, source, there)
            report.findings += there.findings.found
            for _ in _bring_runs(target, source, there, document, seen):
                done_count += 1
                if progress is not None:
                    progress(done_count, total_count)
    report.findings += [*source.findings.found, *_describe_missing(target.places.missing)]
    return report


def _bring_runs(
    target: Target, source: Source, there: SourceExperiment, document: ExperimentDocument, seen: set[str]
) -> Iterator[None]:
    """Bring the runs of an experiment, and yield after each."""
    for start in range(0, len(there.run_keys), _RUNS_AT_ONCE):
        batch = [source.read_run(run_key) for run_key in there.run_keys[start : start + _RUNS_AT_ONCE]]
        _record_life_cycles(target, batch)
        edits = target.catalog.read()
        for run in batch:
            if run.run_id in seen:
                run.findings.note("", "a run of this id came before; what is new in it was added to that one")
            seen.add(run.run_id)
            try:
                if is_removed_for_good(target, run.run_id, edits):
                    run.findings.note("", "it was removed for good here, and is not brought again", severity="info")
                    target.report.runs_unchanged += 1
                else:
                    RunImport(target, run, document).bring()
            except (FormatError, InvalidInputError) as error:
                run.findings.note("", error.message.rstrip("."), severity="error")
                target.report.runs_failed += 1
            target.report.findings += run.findings.found
            yield


def _record_life_cycles(target: Target, batch: list[SourceRun]) -> None:
    """Record which runs were deleted or restored in the source since the last import.

    Before the runs themselves, so that one that is deleted is never shown as active.
    """
    edits = target.catalog.read()
    records: list[dict[str, Any]] = []
    for run in batch:
        try:
            parse_run_id(run.run_id)
        except InvalidInputError:
            continue  # told when it is brought
        if run.run_id in edits.tombstones or run.is_deleted == edits.imported_runs.get(run.run_id, False):
            continue
        records.append(
            {
                "op": "deleted" if run.is_deleted else "restored",
                "runs": [run.run_id],
                "time_ms": target.site.clock() if run.deleted_ms is None else run.deleted_ms,
                "user": "",
                "imported": FROM,
            }
        )
    target.report.life_cycles_changed += len(records)
    if records and not target.is_dry:
        target.catalog.add_life_cycles(*(("runs", record) for record in records))


def _describe_missing(locations: list[str]) -> list[Finding]:
    if not locations:
        return []
    what = (
        f"{len(locations)} runs have no artifact folder where one would be; runs without artifacts have none, "
        "for others say where it lies now with --artifact-root"
    )
    return [Finding(locations[0], what, ErrorCode.ARTIFACT_NOT_FOUND, "info")]
