"""Bringing runs from a server or workspace, as users call it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING

from localtrack.errors import LocaltrackError
from localtrack.format.layout import model_folder, run_folder
from localtrack.storage.base import Storage
from localtrack.store.catalog import Catalog
from localtrack.store.site import Site

if TYPE_CHECKING:
    from localtrack.api.remote_source import RemoteSource
    from localtrack.importing.report import ImportReport, Progress
    from localtrack.store.artifacts import ArtifactRecord
    from localtrack.store.models import Models
    from localtrack.store.run_writer import RunWriter
    from localtrack.store.runs import Runs
    from localtrack.sync.target import Target
    from localtrack.sync.tracking import Tracking


class PullCalls:
    """What a `Store` offers to bring runs back from a remote."""

    storage: Storage
    _site: Site
    _catalog: Catalog
    _runs: Runs
    _models: Models
    _add_to_run: Callable[[str, Callable[[RunWriter], None]], None]
    flush: Callable[[], None]

    def pull(
        self,
        source: str,
        *,
        experiment_names: Iterable[str] | None = None,
        run_ids: Iterable[str] | None = None,
        skip_artifacts: bool = False,
        dry_run: bool = False,
        progress: Progress | None = None,
    ) -> ImportReport:
        """Bring runs of an MLflow Tracking server or a Databricks workspace into this store.

        Everything comes: whole histories, params, tags, data sets, logged models, artifacts. Runs keep their ids; one
        that was pushed from a store comes back under the id that it had there. A pull can be repeated: what is new is
        added, what was changed here stays, and one that was cut short is completed by the next. Deleted runs are not
        brought, and nothing is deleted here.

        Args:
            source: `http(s)://…`, `databricks` or `databricks://profile`.
            experiment_names: Only these experiments; all by default.
            run_ids: Only these runs, by their ids there.
            skip_artifacts: Leave artifacts there.
            dry_run: Write nothing; the report says what would be brought, artifacts left out.
            progress: Called with how many runs and models are done, and how many there are.

        Raises:
            NotFoundError: An experiment or run that was named is not there.
            SyncError: The source cannot be reached or refuses. What was brought is here; pull again.
            LockedError: Another import or pull into this store goes on.

        Durability: what the report counts is durable on return.
        """
        from localtrack.sync.target import resolve_target

        return self.pull_from(
            resolve_target(source),
            experiment_names=experiment_names,
            run_ids=run_ids,
            skip_artifacts=skip_artifacts,
            dry_run=dry_run,
            progress=progress,
        )

    def pull_from(
        self,
        target: Target,
        *,
        experiment_names: Iterable[str] | None = None,
        run_ids: Iterable[str] | None = None,
        skip_artifacts: bool = False,
        dry_run: bool = False,
        progress: Progress | None = None,
    ) -> ImportReport:
        """Bring runs of a target that was resolved. As `pull`."""
        from localtrack.api.remote_source import RemoteSource
        from localtrack.importing.importer import import_source
        from localtrack.sync.http import Http
        from localtrack.sync.tracking import Tracking

        http = Http(target.connection, requests_per_s=target.limits.requests_per_s)
        try:
            tracking = Tracking(http)
            source = RemoteSource(
                tracking,
                target.shown,
                self.storage,
                experiment_names=None if experiment_names is None else list(experiment_names),
                run_ids=None if run_ids is None else set(run_ids),
            )
            report = import_source(self._site, self._catalog, self._runs, source, is_dry=dry_run, progress=progress)
            if not (dry_run or skip_artifacts):
                self._pull_artifacts(source, tracking, target.connection.base_url, report)
        finally:
            http.close()
        if not dry_run:
            self.flush()
        return report

    def _pull_artifacts(self, source: RemoteSource, tracking: Tracking, base_url: str, report: ImportReport) -> None:
        for run_id, remote in source.changed:
            info = remote["info"]
            for record in self._fetch(
                run_folder(run_id),
                str(info.get("artifact_uri", "")),
                tracking.list_artifacts(str(info["run_id"])),
                tracking,
                base_url,
                report,
            ):
                self._add_to_run(run_id, partial(_note, record))
        for model_id, model in source.models.items():
            info = model["info"]
            for record in self._fetch(
                model_folder(model_id),
                str(info.get("artifact_uri", "")),
                tracking.list_model_artifacts(str(info["model_id"])),
                tracking,
                base_url,
                report,
            ):
                self._models.note_artifact(model_id, *record)

    def _fetch(
        self,
        folder: str,
        uri: str,
        there: Mapping[str, int | None],
        tracking: Tracking,
        base_url: str,
        report: ImportReport,
    ) -> Iterator[ArtifactRecord]:
        """Copy the files that are not here in that size, and yield the record of each."""
        from localtrack.store.artifacts import iter_files, put_chunks
        from localtrack.sync.artifact_places import open_place

        here = {info.path: info.file_size for info in iter_files(self.storage, folder)}
        wanted = [path for path, size in sorted(there.items()) if here.get(path, -1) != size]
        if not wanted:
            return
        from localtrack.importing.report import Findings

        findings = Findings(folder)
        try:
            place = open_place(tracking.http, uri, base_url=base_url)
            for path in wanted:
                record = put_chunks(self.storage, folder, place.read(path), path)
                report.artifacts_added += 1
                report.artifact_bytes += record.bytes
                yield record
        except LocaltrackError as error:
            findings.note("artifacts", error.message.rstrip("."), severity="error")
        report.findings += findings.found


def _note(record: ArtifactRecord, writer: RunWriter) -> None:
    writer.note_artifact(*record)
