"""Bringing the runs of other trackers into a store, as users call it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from localtrack.store.catalog import Catalog
from localtrack.store.site import Site

if TYPE_CHECKING:
    from localtrack.importing.report import ImportReport, Progress
    from localtrack.store.runs import Runs


class ImportCalls:
    """What a `Store` offers to those who come from MLflow."""

    _site: Site
    _catalog: Catalog
    _runs: Runs
    flush: Callable[[], None]

    def import_from(
        self,
        source: str | os.PathLike[str],
        *,
        dry_run: bool = False,
        artifact_root: str | os.PathLike[str] | None = None,
        progress: Progress | None = None,
    ) -> ImportReport:
        """Bring everything that MLflow has tracked into this store; ids, times and users of runs are kept.

        It can be repeated: what is there already is not added again, what has changed in the source since is added,
        and what was changed here stays. One that was cut off is completed by the next. What cannot be read is
        reported and stops nothing.

        Args:
            source: An `mlruns` folder, or `sqlite:///mlflow.db`. It is only read.
            dry_run: Write nothing; the report says what would be done.
            artifact_root: The folder that holds the artifacts, by experiment and run, where they are not where the
                source says.
            progress: Called with how many runs are done, and how many there are.

        Raises:
            NotFoundError: There is nothing at `source`.
            FormatError: What is there is not MLflow's.
            InvalidInputError: It names something that cannot be imported, or PyYAML is missing.
            LockedError: Another import into this store goes on.
            StorageError: The store cannot be written to. The next import goes on.

        Durability: what the report counts is durable on return.
        """
        from localtrack.importing.importer import import_source
        from localtrack.importing.opening import open_source_of_runs

        opened = open_source_of_runs(source)
        try:
            report = import_source(
                self._site,
                self._catalog,
                self._runs,
                opened,
                is_dry=dry_run,
                artifact_root=None if artifact_root is None else os.path.abspath(os.fspath(artifact_root)),
                progress=progress,
            )
        finally:
            opened.close()
        if not dry_run:
            self.flush()  # whoever was told that everything is here may remove the source
        return report
