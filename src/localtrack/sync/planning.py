"""Gathers what a plan is made from: what is new in the store, what the target takes, and what it has already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from localtrack.errors import RefusedError, SyncError
from localtrack.sync.choice import Choice
from localtrack.sync.experiment_push import experiment_tags
from localtrack.sync.http import Http
from localtrack.sync.ledger import LedgerState
from localtrack.sync.options import PushOptions
from localtrack.sync.plan import EnsureExperiment, Plan, plan_push
from localtrack.sync.source import Source
from localtrack.sync.target import Target
from localtrack.sync.tracking import Tracking
from localtrack.sync.use_there import UseThere, ask_use

_ASKED_COUNT: Final = 5_000
"""So many runs of an experiment are counted there before a push, 500 a request; by a dry run all."""


class Planning:
    """The planning of one push.

    Args:
        source: The store.
        target: Where to.
        options: What was asked for.
        is_dry_run: Only a plan is wanted: then what the target does not tell is left out.
    """

    def __init__(self, source: Source, target: Target, options: PushOptions, *, is_dry_run: bool) -> None:
        self._source = source
        self._target = target
        self._options = options
        self._is_dry_run = is_dry_run
        self.limits = target.limits
        """Of the target, as far as it was asked."""
        self.notes: list[str] = []
        """What it could not be asked."""

    def make_plan(
        self, ledger: LedgerState, http: Http | None, *, claim_key: str, is_whole: bool = False, asks_use: bool = True
    ) -> Plan:
        """Return what is to be done.

        Args:
            ledger: What the target is known to have.
            http: To the target, which is asked if there is something to do; None to leave it alone.
            claim_key: The tag by which this copy of the store says that it sends the points of a run.
            is_whole: Do not go by the ledger.
            asks_use: Ask the target, too, what it has already of what its limits are about.

        Raises:
            SyncError: The target cannot be reached, or refuses everything.
        """
        choice = Choice(self._source, ledger, self._options, max_artifact_bytes=self._target.limits.file_bytes)
        chosen, unchanged_count = choice.choose_runs(is_whole=is_whole)
        models = choice.choose_models()
        if http is not None and (chosen or models):
            self._ask_limits(http)
        shown = self._source.experiment_names()
        experiments: dict[str, EnsureExperiment] = {}
        for state in [*(run.state for run in chosen), *(self._source.models[model.model_id] for model in models)]:
            if state.experiment_id not in experiments:
                name = self._options.naming.remote_name(shown.get(state.experiment_id, state.experiment_name))
                tags = experiment_tags(self._source.edits, state.experiment_id)
                experiments[state.experiment_id] = EnsureExperiment(
                    state.experiment_id, self._target.experiment_name(name), frozenset(tags)
                )
        there = None
        if http is not None and asks_use and self.limits.quotas:
            names = {operation.experiment_id: operation.name for operation in experiments.values()}
            there = self._ask_use(http, names, [run.run_id for run in chosen])
        return plan_push(
            chosen,
            ledger,
            self.limits,
            self._options,
            store_id=self._source.site.document.store_id,
            experiments=list(experiments.values()),
            models=models,
            unchanged_count=unchanged_count,
            claim_key=claim_key,
            there=there,
        )

    def _ask_limits(self, http: Http) -> None:
        try:
            self.limits = self._target.ask_limits(http)
        except SyncError:
            if not self._is_dry_run:
                raise
            self.notes.append("The target could not be asked which version it is: what it takes is a guess.")

    def _ask_use(self, http: Http, names: Mapping[str, str], run_ids: Sequence[str]) -> UseThere | None:
        most_count = None if self._is_dry_run else _ASKED_COUNT
        try:
            there = ask_use(Tracking(http), names, run_ids, most_count=most_count)
        except SyncError as error:
            if not (self._is_dry_run or isinstance(error, RefusedError)):
                raise  # it would be no better when something is sent
            self.notes.append(f"The target could not be asked what it has already, which counts, too: {error}")
            return None
        self.notes += [
            f"The experiment {name!r} has more than {most_count} runs there: the others are not counted."
            for name in there.uncounted.values()
        ]
        return there
