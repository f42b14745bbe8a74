"""Limits of a store, and how it stands to them, as users call it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from localtrack.api.pages import RunPage
from localtrack.errors import ErrorCode, InvalidInputError
from localtrack.format.layout import run_folder
from localtrack.format.quota import LIMITS, Action, Limit
from localtrack.storage.base import Storage
from localtrack.store.catalog import Catalog
from localtrack.store.site import Site
from localtrack.types import ViewType

if TYPE_CHECKING:
    from localtrack.quota.report import QuotaReport


class QuotaCalls:
    """What a `Store` offers for limits."""

    storage: Storage
    search_runs: Callable[..., RunPage]
    list_logged_models: Callable[..., Any]
    _site: Site
    _catalog: Catalog
    _user: str

    def set_quota(
        self,
        limits: Mapping[str, int | None] | None = None,
        *,
        action: Action = "warn",
        preset: str | None = None,
    ) -> None:
        """Set limits. They are kept in the store, and hold for all who write to it from their next run on.

        Args:
            limits: Value by name, such as `{"run.metric_steps": 100_000}`; None takes a limit away.
            action: What happens beyond: `warn` says so; `refuse` raises `QuotaExceededError`; `thin`, for limits on
                `metric_steps`, keeps fewer points, among them the least, greatest and last value of each metric.
                `localtrack quota show` lists which actions each limit can have.
            preset: Set all limits of a service, `databricks` for example; `limits` override them.

        Raises:
            InvalidInputError: A name, value or action is not one of those that there are.
        """
        from localtrack.format.quota_presets import find_preset

        wanted: dict[str, Limit | None] = {}
        if preset is not None:
            for item in find_preset(preset):
                can = action in LIMITS[item.name].actions
                wanted[item.name] = Limit(item.value, action if can else "warn")
        for name, value in (limits or {}).items():
            if name not in LIMITS:
                raise _unknown(name)
            is_softer = preset is not None and action not in LIMITS[name].actions
            wanted[name] = None if value is None else _checked(name, value, "warn" if is_softer else action)
        if not wanted:
            raise InvalidInputError("No limit is given.", hint="Name one, or a preset that has some.")
        self._catalog.set_limits(wanted, user=self._user)

    def get_quota(self) -> dict[str, Limit]:
        """Return the limits that are set, by name."""
        return dict(sorted(self._catalog.read().quota.items()))

    def quota(
        self,
        *,
        target: str | None = None,
        limits: Mapping[str, int] | None = None,
        already: Mapping[str, int] | None = None,
    ) -> QuotaReport:
        """Return how near to its limits everything is, the nearest first, how fast it grows, and when it gets there.

        Args:
            target: Hold the store against the limits of a service, `databricks` for example, instead of its own.
            limits: Values that override those, by name.
            already: Per experiment name how many other runs the target has there already.

        Raises:
            InvalidInputError: There is no such target or limit.
        """
        from localtrack.format.quota_presets import find_preset
        from localtrack.quota.report import QuotaReport, StoreUse, measure
        from localtrack.store.use import Use, measure_folder, measure_tree

        wanted, sources = dict(self._catalog.read().quota), {}
        if target is not None:
            preset = find_preset(target)
            wanted = {item.name: Limit(item.value, "refuse") for item in preset}
            sources = {item.name: (item.source, item.as_of) for item in preset}
        for name, value in (limits or {}).items():
            old = wanted.get(name)
            wanted[name] = _checked(name, value, "warn") if old is None else old._replace(value=value)
            sources.pop(name, None)
        edits = self._catalog.read()
        rows = list(self.search_runs(max_results=None, run_view_type=ViewType.ALL))
        in_folders = {"bytes", "files", "artifact_bytes"}
        needs_folders = any(name.partition(".")[2] in in_folders for name in wanted)
        packs, folders = self._site.packs, {}
        if needs_folders:
            folders = {row.info.run_id: measure_folder(packs, run_folder(row.info.run_id)) for row in rows}
        use = StoreUse(
            rows,
            folders,
            {experiment.experiment_id: experiment.name for experiment in edits.experiments.values()},
            {experiment.experiment_id: len(experiment.tags) for experiment in edits.experiments.values()},
            list(self.list_logged_models(view_type=ViewType.ALL)),
            self._site.document.store_id,
            measure_tree(packs) if needs_folders else Use(),
        )
        uses = measure(use, wanted, now_ms=self._site.clock(), sources=sources, already=already)
        return QuotaReport(uses, target or "")


def _checked(name: str, value: int, action: Action) -> Limit:
    kind = LIMITS.get(name)
    if kind is None:
        raise _unknown(name)
    if type(value) is not int or value < 0:
        raise InvalidInputError(f"{value!r} is no limit for {name}.", hint="Give a whole number, 0 or more.")
    if action not in kind.actions:
        raise InvalidInputError(
            f"{name} cannot have the action {action!r}.",
            code=ErrorCode.INVALID_SETTING,
            hint=f"Use {' or '.join(kind.actions)}; only of metric_steps fewer can be kept.",
        )
    return Limit(value, action)


def _unknown(name: str) -> InvalidInputError:
    return InvalidInputError(
        f"There is no limit {name!r}.", code=ErrorCode.INVALID_SETTING, hint=f"There are {', '.join(LIMITS)}."
    )
