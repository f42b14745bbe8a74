"""Limits of a store, and how it stands to them, as users call it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from localtrack.api.pages import RunPage
from localtrack.errors import ErrorCode, InvalidInputError
from localtrack.format.layout import model_folder, run_folder
from localtrack.format.names import MAX_INT64
from localtrack.format.quota import LIMITS, Action, Limit
from localtrack.format.quota_presets import PRESETS, find_preset
from localtrack.storage.base import Storage
from localtrack.store.catalog import Catalog
from localtrack.store.site import Site
from localtrack.types import RunRow, ViewType

if TYPE_CHECKING:
    from localtrack.quota.report import QuotaReport
    from localtrack.store.quota_use import StoreUse
    from localtrack.sync.push import Push


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
        ask: bool | None = None,
        prefix: str = "",
        experiment_names: Iterable[str] | None = None,
        filter_string: str = "",
    ) -> QuotaReport:
        """Return how near to its limits everything is, the nearest first, how fast it grows, and when it gets there.

        Args:
            target: Hold what a push would send against the limits of a service instead of the store's own:
                `databricks`, `mlflow-oss`, or a target of `sync`: `http(s)://…`, `databricks://profile`.
            limits: Values that override those, by name.
            already: Per experiment name how many other runs the target has there already; asked, where it is not given.
            ask: Ask the target what it has already, and count that, too: other runs of the experiments, params and tags
                that were added there. By default what is written as a URI is asked.
            prefix: Put before each experiment's name where the target is asked, as in `sync`.
            experiment_names: Count only runs of these.
            filter_string: Count only runs that match, as in `search_runs`.

        Raises:
            InvalidInputError: There is no such target or limit.
            SyncError: The target cannot be reached, or refuses to answer.
        """
        from localtrack.quota.report import QuotaReport, in_folder, use_of_model, use_of_run
        from localtrack.store.quota_use import StoreUse, measure
        from localtrack.store.run_counts import COUNTED
        from localtrack.store.use import NOTHING, StoreFolders, measure_folders

        service, is_asked = _choose_service(target, ask)
        wanted, sources = dict(self._catalog.read().quota), {}
        if service is not None:
            preset = find_preset(service)
            wanted = {item.name: Limit(item.value, "refuse") for item in preset}
            sources = {item.name: (item.source, item.as_of) for item in preset}
        for name, value in (limits or {}).items():
            old = wanted.get(name)
            wanted[name] = _checked(name, value, "warn") if old is None else old._replace(value=value)
            sources.pop(name, None)
        edits = self._catalog.read()
        page = self.search_runs(
            filter_string=filter_string,
            experiment_names=experiment_names,
            max_results=None,
            run_view_type=ViewType.ALL if service is None else ViewType.ACTIVE_ONLY,  # deleted ones are not pushed
        )
        measures = {name.partition(".")[2] for name in wanted}
        needs_folders = not measures.isdisjoint(("bytes", "files", "artifact_bytes"))
        folders = measure_folders(self._site.packs) if needs_folders else StoreFolders({}, {}, NOTHING)
        models = self.list_logged_models(view_type=ViewType.ALL if service is None else ViewType.ACTIVE_ONLY)
        report = QuotaReport(target=service or "")
        push = self._push_to(target, prefix) if is_asked and target is not None else None
        rows: list[RunRow] = [] if service is None else list(page)  # what a push makes of a run tell only its tags
        tags_there = {} if service is None else self._translate_tags(rows, service, push)
        runs = page.uses(measures & COUNTED.keys()) or [use_of_run(row) for row in page]
        for run in runs:
            if needs_folders:
                run.counts.update(in_folder(folders.runs.get(run_folder(run.run_id), NOTHING)))
            if tags_there:
                run.counts["run.tags"] = len(tags_there[run.run_id])
        names = {experiment.experiment_id: experiment.name for experiment in edits.experiments.values()}
        use = StoreUse(
            runs,
            names,
            {experiment.experiment_id: len(experiment.tags) for experiment in edits.experiments.values()},
            [use_of_model(model, folders.models.get(model_folder(model.model_id), NOTHING)) for model in models],
            self._site.document.store_id,
            folders.whole,
        )
        if push is not None:
            use.there = self._ask(push, prefix, use, {row.info.run_id: row for row in rows}, tags_there, report)
        for experiment_id, name in names.items():
            if name in (already or {}):
                use.there = {**use.there, ("experiment.runs", experiment_id): (already or {})[name]}
        report.uses = measure(use, wanted, now_ms=self._site.clock(), sources=sources)
        return report

    def _push_to(self, target: str, prefix: str) -> Push:
        from localtrack.sync.options import Naming, PushOptions
        from localtrack.sync.push import Push
        from localtrack.sync.target import resolve_target

        return Push(self._site, self._catalog, resolve_target(target), PushOptions(naming=Naming(prefix)))

    def _translate_tags(self, rows: list[RunRow], service: str, push: Push | None) -> dict[str, set[str]]:
        """Return per run the keys of the tags that a push gives it, by the rules that `sync` goes by."""
        from localtrack.format.run_fold import RunState
        from localtrack.sync.claims import CLAIM_TAG_PREFIX
        from localtrack.sync.limits import DATABRICKS, MLFLOW
        from localtrack.sync.translation import translate_run

        claim_key = CLAIM_TAG_PREFIX if push is None else push.claim_key
        limits, remote_ids = DATABRICKS if service == "databricks" else MLFLOW, {row.info.run_id: "" for row in rows}
        found: dict[str, set[str]] = {}
        for row in rows:
            info = row.info
            state = RunState(
                experiment_id=info.experiment_id,
                experiment_name="",
                generation=0,
                run_id=info.run_id,
                start_ms=info.start_time,
                user=info.user_id,
                tags=dict(row.tags),
            )
            translation = translate_run(state, limits, store_id=self._site.document.store_id, remote_ids=remote_ids)
            found[info.run_id] = translation.tags.keys() | ({claim_key} if row.metrics else set())
        return found

    def _ask(
        self,
        push: Push,
        prefix: str,
        use: StoreUse,
        rows: Mapping[str, RunRow],
        tags: Mapping[str, set[str]],
        report: QuotaReport,
    ) -> dict[tuple[str, str], int]:
        """Ask a target what it has already; return how much that is by limit and id of the run or experiment."""
        chosen = {run.experiment_id for run in use.runs} | {model.experiment_id for model in use.models}
        names: dict[str, str] = {}
        for experiment_id in chosen & use.experiment_names.keys():
            try:
                names[experiment_id] = push.target.experiment_name(prefix + use.experiment_names[experiment_id])
            except InvalidInputError as error:
                report.notes.append(str(error))
        report.asked = push.target.shown
        found = push.ask_use(names, rows.keys())
        edits = self._catalog.read()
        there = {("experiment.runs", id_): count for id_, count in found.other_runs.items()}
        for id_, keys in found.experiment_tags.items():
            there["experiment.tags", id_] = len(keys - edits.experiments[id_].tags.keys())
        for run_id, keys in found.params.items():
            there["run.params", run_id] = len(keys - rows[run_id].params.keys())
        for run_id, keys in found.tags.items():
            there["run.tags", run_id] = len(keys - tags[run_id])
        return there


def _choose_service(target: str | None, ask: bool | None) -> tuple[str | None, bool]:
    """Return whose limits count, and whether it is asked what it has.

    Raises:
        InvalidInputError: There is no such target, or nobody to ask.
    """
    if target is None:
        if ask:
            raise InvalidInputError("No target is named that could be asked.", hint="Name one: target='databricks'.")
        return None, False
    from localtrack.sync.target import target_kind

    kind = target_kind(target)
    if kind == "store" and target not in PRESETS:
        services = ", ".join(PRESETS)
        raise InvalidInputError(
            f"There is no target {target!r}.",
            code=ErrorCode.INVALID_SETTING,
            hint=f"Name a service ({services}), or a target of sync: http(s)://… or databricks://profile.",
        )
    if kind == "store" and ask:
        raise InvalidInputError(f"{target!r} is no server that could be asked.", hint="Name one: http(s)://….")
    is_asked = "://" in target if ask is None else ask
    return {"mlflow": "mlflow-oss", "databricks": "databricks", "store": target}[kind], is_asked


def _checked(name: str, value: int, action: Action) -> Limit:
    kind = LIMITS.get(name)
    if kind is None:
        raise _unknown(name)
    if type(value) is not int or not 0 <= value <= MAX_INT64:
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
