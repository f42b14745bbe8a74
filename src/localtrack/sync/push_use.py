"""What a push would bring the target to, held against its limits by the plan that `localtrack quota` goes by. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Set
from typing import Final

from localtrack.format.quota import LIMITS, Limit
from localtrack.store.quota_use import ModelUse, QuotaUse, RunUse, StoreUse, measure
from localtrack.sync.ledger import LedgerState
from localtrack.sync.limits import Limits
from localtrack.sync.source import LocalRun
from localtrack.sync.translation import Loss, Translation
from localtrack.sync.use_there import UseThere

_OWN_TAGS: Final = " (tags that the push adds are among them)"

_THERE: Final = {"experiment.runs": "there already"}


class PushUse:
    """Collects what counts, then tells what will be too much.

    Args:
        limits: Of the target.
        ledger: What it is known to have.
        there: What it said that it has; None if it was not asked.
        claim_key: The tag that stays on a run that was sent points.
    """

    def __init__(self, limits: Limits, ledger: LedgerState, there: UseThere | None, claim_key: str) -> None:
        self._limits = {name: Limit(value, "refuse") for name, value in limits.quotas.items()}
        self._ledger = ledger
        self._asked = there or UseThere()
        self._claim_key = claim_key
        self._runs: list[RunUse] = []
        self._models: list[ModelUse] = []
        self._names: dict[str, str] = {}
        self._tags: dict[str, int] = {}
        self._there: dict[tuple[str, str], int] = {}

    def add_run(self, run: LocalRun, translation: Translation, *, points_count: int, leaves_claim: bool) -> None:
        """Count a run that is to be sent.

        Args:
            run: The run.
            translation: What it should be there.
            points_count: That the target has of it then.
            leaves_claim: It gets the tag by which this copy of the store says that it sends points.
        """
        if not self._limits:
            return
        tags = translation.tags.keys() | ({self._claim_key} if leaves_claim else set())
        counts = {"run.metric_steps": points_count, "run.params": len(translation.params), "run.tags": len(tags)}
        use = RunUse(run.run_id, run.experiment_id, translation.name, run.status, run.start_ms, counts)
        self._runs.append(use)
        self._add_there("run.params", run.run_id, self._asked.params.get(run.run_id), translation.params.keys())
        self._add_there("run.tags", run.run_id, self._asked.tags.get(run.run_id), tags)

    def add_experiment(self, experiment_id: str, name: str, tag_keys: Collection[str]) -> None:
        """Count an experiment.

        Args:
            experiment_id: Here.
            name: There.
            tag_keys: Of the tags that it gets.
        """
        if not self._limits:
            return
        self._names[experiment_id], self._tags[experiment_id] = name, len(tag_keys)
        keys_there = self._asked.experiment_tags.get(experiment_id)
        self._add_there("experiment.tags", experiment_id, keys_there, set(tag_keys))

    def add_model(self, model_id: str, experiment_id: str, metrics_count: int) -> None:
        """Count a logged model."""
        self._models.append(ModelUse(model_id, experiment_id, "", {"logged_model.metrics": metrics_count}))

    def foresee_breaches(self) -> list[Loss]:
        """Return a sentence for each limit that will be exceeded, those that are exceeded most first."""
        self._count_other_runs()
        use = StoreUse(self._runs, self._names, self._tags, self._models, there=self._there)
        return [_loss(item) for item in measure(use, self._limits, now_ms=0) if item.is_exceeded]

    def _add_there(self, limit_name: str, id_: str, there: Set[str] | None, here: Set[str]) -> None:
        if there:
            self._there[limit_name, id_] = len(there - here)

    def _count_other_runs(self) -> None:
        """Count the runs that experiments have there besides those that are to be sent."""
        sent = {run.run_id for run in self._runs}
        known_counts = Counter(
            entry.remote_experiment
            for run_id, entry in self._ledger.runs.items()
            if entry.remote_id is not None and run_id not in sent
        )
        for experiment_id in self._names:
            count = self._asked.other_runs.get(experiment_id, 0)
            if experiment_id not in self._asked.other_runs or experiment_id in self._asked.uncounted:
                remote_id = self._ledger.experiments.get(experiment_id, {}).get("remote", "")
                count = max(count, known_counts[remote_id])
            self._there["experiment.runs", experiment_id] = count


def _loss(use: QuotaUse) -> Loss:
    owner = {"run": "It", "experiment": f"Experiment {use.name!r}"}.get(use.level, f"Logged model {use.id}")
    besides = f", {use.there} of them {_THERE.get(use.limit_name, 'only there')}" if use.there else ""
    meaning = LIMITS[use.limit_name].meaning + (_OWN_TAGS if use.limit_name == "run.tags" else "")
    what = f"{owner} has {use.used} {meaning}{besides}; the target takes {use.limit}."
    return Loss(use.id if use.level == "run" else "", "quota", what)
