"""What `mlflow gc` asks for: what is deleted, and its removal for good."""

from __future__ import annotations

from localtrack import reporting
from localtrack.mlflow_plugin import host
from localtrack.mlflow_plugin.failures import raises_mlflow_errors
from localtrack.mlflow_plugin.runs import RunMethods
from localtrack.store.cleaning.report import GcReport
from localtrack.types import DEFAULT_EXPERIMENT_ID, ViewType


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
        _tell_spared(report)
        return [item.run_id for item in report.garbage if item.run_id is not None]

    def _get_deleted_logged_models(self, older_than: int = 0) -> list[str]:
        """Return the logged models that have been deleted for so long, as `_get_deleted_runs` the runs."""
        latest_ms = self.store.clock() - older_than
        deleted = self.store.list_logged_models(view_type=ViewType.DELETED_ONLY)
        due = [model.model_id for model in deleted if model.last_updated_timestamp <= latest_ms]
        report = self.store.remove_logged_models(due, dry_run=True)
        _tell_spared(report)
        return [item.model_id for item in report.garbage if item.model_id is not None]

    def _hard_delete_logged_model(self, model_id: str) -> None:
        """Remove a deleted logged model for good, its artifacts too."""
        self.store.get_logged_model(model_id, allow_deleted=True)
        report = self.store.remove_logged_models([model_id])
        if not any(item.model_id == model_id for item in report.garbage):
            raise _refusal(f"Logged model {model_id}", report)

    def _hard_delete_experiment(self, experiment_id: str) -> None:
        """Remove a deleted experiment for good, with all that is left of its runs and logged models.

        Default stays, deleted, which a warning says: it is in every store, and `mlflow gc` goes on.
        """
        experiment = self.find_experiment(experiment_id)
        report = self.store.remove_experiments([experiment.experiment_id])
        if any(item.kind == "experiment" for item in report.garbage):
            return
        if experiment.experiment_id != DEFAULT_EXPERIMENT_ID:
            raise _refusal(f"Experiment {experiment.experiment_id}", report)
        _tell_spared(report)

    def _hard_delete_run(self, run_id: str) -> None:
        """Remove a deleted run for good, its points and artifacts too."""
        self.read_run(run_id)
        self.writers.let_go(run_id)
        report = self.store.remove_runs([run_id])
        if not any(item.run_id == run_id for item in report.garbage):
            raise _refusal(f"Run {run_id}", report)


def _tell_spared(report: GcReport) -> None:
    for spared in report.spared:
        reporting.warn("%s stays: %s", spared.key, spared.reason)


def _refusal(what: str, report: GcReport) -> Exception:
    reasons = "; ".join(dict.fromkeys(spared.reason for spared in report.spared)) or "it is not deleted"
    return host.refusal(f"{what} cannot be removed: {reasons}.", "INVALID_STATE")
