"""What the files of `edits/` add up to: experiments, life cycles, tombstones.

FORMAT.md sections 9.2 and 12.5 to 12.7.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from localtrack.format.documents import ExperimentDocument
from localtrack.format.lines import EDITS, Lines, read_lines, reject_record
from localtrack.format.quota import Limit, is_sound_quota
from localtrack.types import DEFAULT_EXPERIMENT_ID

_EXPERIMENT_OPS: Final = frozenset(["created", "renamed", "tagged", "deleted", "restored"])
_TOMBSTONE_NAMES: Final = ("run", "model", "experiment")


class Edit(NamedTuple):
    """One record of an edits file, in the order in which edits are folded."""

    stamp: int
    writer: str
    order: int
    kind: str
    payload: dict[str, Any]


@dataclass(slots=True)
class ExperimentState:
    """What is known of an experiment."""

    experiment_id: str
    original_name: str
    generation: int = 0
    name: str = ""
    """As shown: two experiments that came to one name by a merge are told apart here."""
    tags: dict[str, str] = field(default_factory=dict)
    created_ms: int | None = None
    updated_ms: int | None = None
    user: str = ""
    lifecycle: tuple[int, str, int] = (0, "", 0)
    """The order of the highest `deleted` or `restored` edit."""
    lifecycle_ms: int = 0
    """When that was, milliseconds since 1970, UTC."""
    is_deleted: bool = False
    has_tombstone: bool = False
    is_removed: bool = False
    """A tombstone of it is higher than every `restored` edit: it is shown only where a run or a model of it is."""
    imported: ImportedExperiment | None = None
    """What imports have said of it; None if none has."""


@dataclass(slots=True)
class ImportedExperiment:
    """An experiment as the last import left it."""

    is_made: bool = False
    """An import made it: before that there was none of the name."""
    is_deleted: bool = False
    tags: dict[str, str] = field(default_factory=dict)
    sources: set[str] = field(default_factory=set)
    """What `imported` says in their edits: one for each experiment that was brought into this one."""


class Lifecycle(NamedTuple):
    """The highest life-cycle edit of a run or a logged model."""

    order: tuple[int, str, int]
    is_deleted: bool
    time_ms: int


@dataclass(slots=True)
class Tombstone:
    """How much of a run or a logged model was removed for good."""

    stamp: int
    positions: dict[str, tuple[int, int]]
    """Per writer: bytes of its log, points."""
    is_undone: bool = False
    """True: a `restored` record of it is higher; a copy that is still there is shown."""

    def covers(self, positions: Mapping[str, tuple[int, int]]) -> bool:
        """Return whether all that there is of it was removed for good."""
        nothing = (0, 0)
        return all(
            bytes_count <= self.positions.get(writer, nothing)[0] and points <= self.positions.get(writer, nothing)[1]
            for writer, (bytes_count, points) in positions.items()
        )


@dataclass(slots=True)
class EditsState:
    """What all edits of a store add up to."""

    experiments: dict[str, ExperimentState] = field(default_factory=dict)
    """Those that are shown, by id."""
    removed_experiments: dict[str, ExperimentState] = field(default_factory=dict)
    """Those that were removed for good, and of which nothing is shown."""
    runs: dict[str, Lifecycle] = field(default_factory=dict)
    models: dict[str, Lifecycle] = field(default_factory=dict)
    tombstones: dict[str, Tombstone] = field(default_factory=dict)
    """Of runs, by id."""
    model_tombstones: dict[str, Tombstone] = field(default_factory=dict)
    imported_runs: dict[str, bool] = field(default_factory=dict)
    """Of runs whose life cycle an import has recorded: whether the last one said deleted."""
    imported_models: dict[str, bool] = field(default_factory=dict)
    quota: dict[str, Limit] = field(default_factory=dict)
    """Limits that are set, by name."""
    greatest_stamp: int = 0

    def is_run_deleted(self, run_id: str, experiment_id: str) -> bool:
        """Return whether the highest life-cycle edit of a run and its experiment says deleted."""
        own, experiment = self.runs.get(run_id), self.find_experiment(experiment_id)
        if own is None:
            return experiment is not None and experiment.is_deleted
        if experiment is None or own.order > experiment.lifecycle:
            return own.is_deleted
        return experiment.is_deleted

    def is_removed(self, run_id: str, positions: Mapping[str, tuple[int, int]]) -> bool:
        """Return whether tombstones cover all there is of a run, and nobody has restored it since (12.7)."""
        return _is_covered(self.tombstones.get(run_id), positions)

    def is_model_removed(self, model_id: str, positions: Mapping[str, tuple[int, int]]) -> bool:
        """Return whether tombstones cover all there is of a logged model. As `is_removed`."""
        return _is_covered(self.model_tombstones.get(model_id), positions)

    def find_experiment(self, experiment_id: str) -> ExperimentState | None:
        """Return an experiment, one that was removed for good too; None if nothing is known of it."""
        return self.experiments.get(experiment_id) or self.removed_experiments.get(experiment_id)

    def deleted_ms(self, run_id: str, experiment_id: str) -> int | None:
        """Return when a run was deleted, or its experiment; None if it is not deleted."""
        if not self.is_run_deleted(run_id, experiment_id):
            return None
        own, experiment = self.runs.get(run_id), self.find_experiment(experiment_id)
        if own is not None and (experiment is None or own.order > experiment.lifecycle):
            return own.time_ms
        assert experiment is not None
        return experiment.lifecycle_ms

    def is_model_deleted(self, model_id: str) -> bool:
        """Return whether the highest life-cycle edit of a logged model says deleted; its experiment's says nothing."""
        return self.model_deleted_ms(model_id) is not None

    def model_deleted_ms(self, model_id: str) -> int | None:
        """Return when a logged model was deleted; None if it is not deleted."""
        own = self.models.get(model_id)
        return own.time_ms if own is not None and own.is_deleted else None


def read_edits(data: bytes, *, writer: str) -> tuple[list[Edit], Lines]:
    """Return the edits in one file, and its lines with the problems."""
    lines = read_lines(data, EDITS)
    if lines.header is None:
        return [], lines
    if lines.header["writer"] != writer:
        lines.problems.append(f"its header names another writer, {lines.header['writer']!r}")
    edits: list[Edit] = []
    for order, record in enumerate(lines.records):
        kind = record[0]
        if kind not in ("experiment", "runs", "models", "tombstone", "quota"):
            reject_record(lines, record)
            continue
        if len(record) != 3 or type(record[1]) is not int or not _is_sound(kind, record[2]):
            lines.problems.append(f"the record {str(record)[:60]} is damaged")
            continue
        edits.append(Edit(record[1], writer, order, kind, record[2]))
    return edits, lines


def fold_edits(
    edits: Iterable[Edit],
    documents: Mapping[str, ExperimentDocument],
    *,
    store_created_ms: int | None = None,
    inhabited: Collection[str] = (),
) -> EditsState:
    """Return what edits add up to, in whichever order they come.

    Args:
        edits: Of all files.
        documents: The experiments that have a document, by id.
        store_created_ms: When the store was made: Default is as old, unless an edit says more.
        inhabited: Experiments of which a run or a logged model is shown, as far as they were looked for: these are
            shown also if they were removed for good.
    """
    state = EditsState()
    for document in documents.values():
        state.experiments[document.experiment_id] = ExperimentState(
            document.experiment_id, document.name, document.generation, document.name
        )
    ordered = sorted(edits, key=lambda edit: edit[:3])
    for edit in ordered:
        if edit.kind == "experiment" and edit.payload["op"] == "created":
            _add_experiment(state, edit.payload)  # says what a document says that is missing, also to edits before it
    for edit in ordered:
        state.greatest_stamp = max(state.greatest_stamp, edit.stamp)
        if edit.kind == "experiment":
            _apply_to_experiment(state, edit)
        elif edit.kind == "quota":
            _apply_quota(state, edit.payload["limits"])
        elif edit.kind in ("runs", "models"):
            lifecycle = Lifecycle(edit[:3], edit.payload["op"] == "deleted", edit.payload["time_ms"])
            states = state.runs if edit.kind == "runs" else state.models
            states.update(dict.fromkeys(edit.payload[edit.kind], lifecycle))
            tombstones = state.tombstones if edit.kind == "runs" else state.model_tombstones
            if tombstones and not lifecycle.is_deleted:
                for entity_id in tombstones.keys() & set(edit.payload[edit.kind]):
                    tombstones[entity_id].is_undone = True
            if "imported" in edit.payload:
                imported = state.imported_runs if edit.kind == "runs" else state.imported_models
                imported.update(dict.fromkeys(edit.payload[edit.kind], lifecycle.is_deleted))
        else:
            _apply_tombstone(state, edit)
    default = state.experiments.get(DEFAULT_EXPERIMENT_ID)
    if default is not None and default.created_ms is None:
        default.created_ms = store_created_ms
    shown = {DEFAULT_EXPERIMENT_ID, *inhabited}
    for experiment in [e for e in state.experiments.values() if e.is_removed and e.experiment_id not in shown]:
        state.removed_experiments[experiment.experiment_id] = state.experiments.pop(experiment.experiment_id)
    tell_names_apart(state.experiments)
    return state


def tell_names_apart(experiments: Mapping[str, ExperimentState]) -> list[ExperimentState]:
    """Give each experiment a name of its own, and return those whose name was taken."""
    renamed: list[ExperimentState] = []
    taken: set[str] = set()
    for experiment in sorted(experiments.values(), key=_seniority):
        wanted, name = experiment.name, experiment.name
        for chars in (6, len(experiment.experiment_id)):
            if name not in taken:
                break
            name = f"{wanted}~{experiment.experiment_id[:chars]}"
        if name != wanted:
            experiment.name = name
            renamed.append(experiment)
        taken.add(name)
    return renamed


def _seniority(experiment: ExperimentState) -> tuple[bool, bool, int, str]:
    # One that was removed for good and came back has no claim on a name that another was given since.
    is_known = experiment.created_ms is not None
    return experiment.has_tombstone, not is_known, experiment.created_ms or 0, experiment.experiment_id


def _add_experiment(state: EditsState, payload: dict[str, Any]) -> ExperimentState:
    """Return the experiment of an edit; one whose document is missing gets what the edit says, for want of better."""
    experiment_id = payload["id"]
    experiment = state.experiments.get(experiment_id)
    if experiment is None:
        name = str(payload.get("name", experiment_id))
        experiment = ExperimentState(experiment_id, name, payload.get("generation", 0), name)
        state.experiments[experiment_id] = experiment
    return experiment


def _apply_to_experiment(state: EditsState, edit: Edit) -> None:
    payload = edit.payload
    op = payload["op"]
    experiment = _add_experiment(state, payload)
    if "imported" in payload:
        _note_import(experiment, payload)
    if op == "tagged":
        _apply_tags(experiment.tags, payload["tags"])
        return
    experiment.updated_ms = payload["time_ms"]
    if op == "created":
        if experiment.created_ms is None:
            experiment.created_ms, experiment.user = payload["time_ms"], str(payload.get("user", ""))
    elif op == "renamed":
        experiment.name = payload["name"]
    else:
        experiment.lifecycle, experiment.is_deleted = edit[:3], op == "deleted"
        experiment.lifecycle_ms = payload["time_ms"]
        experiment.is_removed &= experiment.is_deleted


def _apply_quota(state: EditsState, limits: dict[str, list[Any] | None]) -> None:
    for name, limit in limits.items():
        if limit is None:
            state.quota.pop(name, None)
        else:
            state.quota[name] = Limit(*limit)


def _apply_tags(tags: dict[str, str], changes: Mapping[str, str | None]) -> None:
    for key, value in changes.items():
        if value is None:
            tags.pop(key, None)
        else:
            tags[key] = value


def _note_import(experiment: ExperimentState, payload: dict[str, Any]) -> None:
    if experiment.imported is None:
        experiment.imported = ImportedExperiment()
    experiment.imported.sources.add(str(payload["imported"]))
    if payload["op"] == "tagged":
        _apply_tags(experiment.imported.tags, payload["tags"])
    elif payload["op"] == "created":
        # One that was there before an import is not the import's to delete.
        experiment.imported.is_made |= experiment.created_ms is None
    elif payload["op"] in ("deleted", "restored"):
        experiment.imported.is_deleted = payload["op"] == "deleted"


def _apply_tombstone(state: EditsState, edit: Edit) -> None:
    payload = edit.payload
    if "experiment" in payload:
        experiment = _add_experiment(state, {"id": payload["experiment"]})
        experiment.lifecycle, experiment.lifecycle_ms = edit[:3], payload["time_ms"]
        experiment.updated_ms = payload["time_ms"]
        experiment.is_deleted = experiment.has_tombstone = experiment.is_removed = True
        return
    if "run" in payload:
        entity_id, tombstones, lifecycles = payload["run"], state.tombstones, state.runs
    else:
        entity_id, tombstones, lifecycles = payload["model"], state.model_tombstones, state.models
    known = tombstones.setdefault(entity_id, Tombstone(edit.stamp, {}))
    known.stamp = max(known.stamp, edit.stamp)
    known.is_undone = False
    for writer, (bytes_count, points) in payload["positions"].items():
        had = known.positions.get(writer, (0, 0))
        known.positions[writer] = (max(had[0], bytes_count), max(had[1], points))
    lifecycles[entity_id] = Lifecycle(edit[:3], True, payload["time_ms"])


def _is_covered(tombstone: Tombstone | None, positions: Mapping[str, tuple[int, int]]) -> bool:
    return tombstone is not None and not tombstone.is_undone and tombstone.covers(positions)


def _is_sound(kind: str, payload: Any) -> bool:
    if type(payload) is not dict or type(payload.get("time_ms")) is not int:
        return False
    if kind in ("runs", "models"):
        ids = payload.get(kind)
        return payload.get("op") in ("deleted", "restored") and type(ids) is list and all(type(i) is str for i in ids)
    if kind == "quota":
        return is_sound_quota(payload)
    if kind == "tombstone":
        named = [payload[name] for name in _TOMBSTONE_NAMES if name in payload]
        if len(named) != 1 or type(named[0]) is not str:
            return False
        positions = payload.get("positions")
        return "experiment" in payload or (
            type(positions) is dict
            and all(type(p) is list and len(p) == 2 and set(map(type, p)) == {int} for p in positions.values())
        )
    if payload.get("op") not in _EXPERIMENT_OPS or type(payload.get("id")) is not str:
        return False
    if payload["op"] == "tagged":
        tags = payload.get("tags")
        return type(tags) is dict and all(value is None or type(value) is str for value in tags.values())
    if payload["op"] == "created" and type(payload.get("generation")) is not int:
        return False
    return payload["op"] not in ("created", "renamed") or type(payload.get("name")) is str
