"""Another store as the target: a merge of the chosen runs, byte for byte, with the models that they made and read."""

from __future__ import annotations

import time

from localtrack.format.layout import model_folder
from localtrack.store.catalog import Catalog
from localtrack.store.inbox import Inbox
from localtrack.store.merging import MergeReport, merge_store
from localtrack.store.site import Site
from localtrack.sync.options import ArtifactChoice, PushOptions, Selection
from localtrack.sync.report import PushReport
from localtrack.sync.source import Source


def push_to_store(
    site: Site, catalog: Catalog, target: Site, inbox: Inbox, selection: Selection, *, is_dry_run: bool = False
) -> PushReport:
    """Copy the chosen runs of a store into another one that do not lie there as they are here.

    Experiments and life cycles come along whole. It can be repeated; one that was cut short is completed by the next.

    Args:
        site: The store, only read.
        catalog: Its experiments.
        target: The store that grows.
        inbox: Where the notices of touched runs go.
        selection: Which runs.
        is_dry_run: Only say how many runs are chosen.
    """
    began_s = time.monotonic()
    source = Source(site, catalog)
    report = PushReport(target.storage.uri, "whoever may write there", is_dry_run=is_dry_run)
    folders: set[str] = set()
    runs_count = points_count = 0
    for folder in source.iter_folders():
        run = source.describe(folder, PushOptions(artifacts=ArtifactChoice(is_skipped=True)))
        if run is None or not selection.takes(
            run_id=run.run_id, experiment_id=run.experiment_id, status=run.status, start_ms=run.start_ms
        ):
            continue
        folders.add(folder)
        runs_count += 1
        points_count += run.points_count
        models = [*run.state.model_inputs, *(model for model, _ in run.state.model_outputs)]
        models += [model.model_id for model in source.models_of_runs.get(run.run_id, [])]
        folders.update(map(model_folder, models))
    report.plan = {
        "experiments": [],
        "runs": runs_count,
        "new_runs": 0,
        "points": points_count,
        "artifacts": 0,
        "requests": 0,
        "bytes": 0,
        "expected_s": 0.0,
    }
    if not is_dry_run:
        # Everything is a merge without a choice: packs of many runs are copied as they are.
        merged = merge_store(target, site, inbox, folders=None if selection == Selection() else folders)
        _take(report, merged)
    report.duration_s = time.monotonic() - began_s
    return report


def _take(report: PushReport, merged: MergeReport) -> None:
    report.unchanged_count = merged.runs_unchanged
    report.merged_count = merged.runs_added + merged.runs_extended
    report.models_sent = merged.models_added + merged.models_extended
    report.sent_bytes = merged.bytes_copied
    report.notes += [f"{finding.key}: {finding.what}" for finding in merged.findings]
