"""Which runs and logged models of a store a push has to look at: those that were chosen and may have something new."""

from __future__ import annotations

from localtrack.format.layout import model_folder
from localtrack.sync.ledger import LedgerState, RunEntry
from localtrack.sync.options import PushOptions
from localtrack.sync.plan import SendModel
from localtrack.sync.source import LocalRun, Source, state_digest
from localtrack.types import TERMINAL_STATUSES


class Choice:
    """What was asked for, held against what the target is known to have.

    Args:
        source: The store.
        ledger: What the target is known to have.
        options: What was asked for.
        max_artifact_bytes: Of an artifact that the target takes.
    """

    def __init__(
        self, source: Source, ledger: LedgerState, options: PushOptions, *, max_artifact_bytes: int | None
    ) -> None:
        self._source = source
        self._ledger = ledger
        self._options = options
        self._max_artifact_bytes = max_artifact_bytes
        self._fingerprint = state_digest(options.fingerprint)

    def choose_runs(self, *, is_whole: bool = False) -> tuple[list[LocalRun], int]:
        """Return the chosen runs of which something may be new, and how many are as the ledger says.

        Args:
            is_whole: Do not go by the ledger: return all of them.
        """
        selection = self._options.selection
        known = {} if is_whole else {entry.done["folder"]: entry for entry in self._ledger.runs.values() if entry.done}
        chosen: list[LocalRun] = []
        unchanged_count = 0
        for folder in self._source.iter_folders():
            entry = known.get(folder)
            if entry is not None and (entry.is_claimed or not self._is_as_before(folder, entry)):
                entry = None
            run: LocalRun | None = None
            if entry is None or self._may_have_died(entry):
                run = self._source.describe(folder, self._options, max_artifact_bytes=self._max_artifact_bytes)
            if entry is not None and (run is None or not run.is_dead):
                done = entry.done
                unchanged_count += selection.takes(
                    run_id=done["run"], experiment_id=done["local"], status=done["status"], start_ms=done["start_ms"]
                )
            elif run is not None and selection.takes(
                run_id=run.run_id, experiment_id=run.experiment_id, status=run.status, start_ms=run.start_ms
            ):
                chosen.append(run)
        return chosen, unchanged_count

    def choose_models(self) -> list[SendModel]:
        """Return the logged models of the chosen experiments, or of the chosen runs, of which something may be new."""
        selection = self._options.selection
        found: list[SendModel] = []
        for state in self._source.models.values():
            is_chosen = selection.experiment_ids is None or state.experiment_id in selection.experiment_ids
            if selection.run_ids is not None:
                is_chosen = is_chosen and state.source_run in selection.run_ids
            if not is_chosen or self._source.edits.is_model_deleted(state.model_id):
                continue
            folder = model_folder(state.model_id)
            signature = self._source.signature(folder)
            if self._ledger.models.get(state.model_id, {}).get("signature") != signature:
                metrics_count = len(state.metrics)
                found.append(SendModel(state.model_id, folder, state.experiment_id, signature, metrics_count))
        return found

    def _is_as_before(self, folder: str, entry: RunEntry) -> bool:
        done = entry.done
        return bool(
            done["options"] == self._fingerprint
            and done["signature"] == self._source.signature(folder)
            and done["deleted_here"] == self._source.is_deleted(done["run"], done["local"])
        )

    def _may_have_died(self, entry: RunEntry) -> bool:
        """Return whether a run of which no file has changed may have ended since all the same."""
        is_open = entry.done.get("there", "") not in TERMINAL_STATUSES
        return self._options.dead_runs == "killed" and bool(is_open)
