"""What `mlflow gc` asks for: which runs and models are deleted, and their removal for good."""

from __future__ import annotations

from localtrack import reporting
from localtrack.mlflow_plugin import host
from localtrack.mlflow_plugin.failures import raises_mlflow_errors
from localtrack.mlflow_plugin.runs import RunMethods
from localtrack.types import ViewType


@raises_mlflow_errors
class RemovalMethods(RunMethods):
    """What `mlflow gc` calls."""

    def _get_deleted_runs(self, older_than: int = 0) -> list[str]:
        """Return the runs that have been deleted for so long, in milliseconds, and may be removed for good.

        Those that may not, because a process may still write to them or because they are damaged, are told of.
        """
        latest_ms = self.store.clock() - older_than
        edits = self.store.catalog.read()
        page = self.store.search_runs(max_results=None, run_view_type=ViewType.DELETED_ONLY)
        deleted_ms = {row.info.run_id: edits.deleted_ms(row.info.run_id, row.info.experiment_id) for row in page}
        due = [run_id for run_id, at_ms in deleted_ms.items() if at_ms is not None and at_ms <= latest_ms]
        report = self.store.remove_runs(due, dry_run=True)
        for spared in report.spared:
            reporting.warn("%s stays: %s", spared.key, spared.reason)
        return [item.run_id for item in report.garbage if item.run_id is not None]

    def _hard_delete_run(self, run_id: str) -> None:
        """Remove a deleted run for good, its points and artifacts too."""
        self.read_run(run_id)
        self.writers.let_go(run_id)
        report = self.store.remove_runs([run_id])
        if not any(item.run_id == run_id for item in report.garbage):
            reasons = "; ".join(spared.reason for spared in report.spared) or "it is not deleted"
            raise host.refusal(f"Run {run_id} cannot be removed: {reasons}.", "INVALID_STATE")
