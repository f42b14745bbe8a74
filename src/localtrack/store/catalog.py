"""The experiments of a store and the life cycle of its runs.

What `experiments/` and `edits/` say, and how to add to it.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Literal

from localtrack.errors import (
    AlreadyExistsError,
    ErrorCode,
    FormatError,
    InvalidInputError,
    NotFoundError,
    StateError,
    StorageError,
)
from localtrack.format.documents import ExperimentDocument, parse_experiment
from localtrack.format.edits import Edit, EditsState, ExperimentState, fold_edits, read_edits
from localtrack.format.ids import encode_experiment_id, parse_experiment_id
from localtrack.format.layout import EDITS, EXPERIMENTS, PACKS, edits_key, parse_run_file
from localtrack.format.lines import EDITS as EDITS_HEADER
from localtrack.format.names import (
    MAX_EXPERIMENT_TAG_VALUE_CHARS,
    validate_experiment_name,
    validate_key,
    validate_value,
)
from localtrack.format.quota import Limit
from localtrack.storage.failures import is_forbidden
from localtrack.store.folder_reading import NEWER_HINT
from localtrack.store.logparts import count_parts, gather_logs, read_log
from localtrack.store.process_log import ProcessLog
from localtrack.store.site import Site, ensure_experiment_file
from localtrack.types import Finding

_RECENT_S: Final = 1.0
"""Starting many short runs, one after the other, need not list the store's edits for each."""


class Catalog:
    """Experiments and life cycles of one store, as this process sees and changes them. Thread-safe."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._log = ProcessLog(site, EDITS_HEADER, edits_key)
        self._lock = threading.RLock()
        self._documents: dict[str, ExperimentDocument] = {}
        self._edits: dict[str, tuple[int, list[Edit], list[str], bool]] = {}
        self._adopted: dict[str, ExperimentDocument] = {}
        self._state: EditsState | None = None
        self._read_s = 0.0
        self._said: set[str] = set()  # limits of which it was said that they are exceeded
        _alive.add(self)
        self.findings: list[Finding] = []
        """What was wrong with the files, as of the last `read`."""

    def read(self) -> EditsState:
        """Return what the edits add up to now, having read what is new.

        Raises:
            FormatError: An edit can only be understood by a newer version, so that any answer might be wrong.
        """
        with self._lock:
            self._read_s = time.monotonic()
            changed = self._read_documents()
            if self._read_edit_files():
                changed = True
                self._forget_removed()
            if changed or self._state is None:
                self._state = fold_edits(
                    self._all_edits(),
                    {**self._adopted, **self._documents},
                    store_created_ms=self._site.document.created_ms,
                    inhabited=self._adopted,
                )
            for name, (_, _, problems, is_newer) in self._edits.items():
                if is_newer:
                    raise FormatError(
                        f"{EDITS}/{name}: {problems[-1]}.",
                        code=ErrorCode.NEWER_FORMAT,
                        hint=NEWER_HINT,
                    )
            return self._state

    def forget(self) -> None:
        """Read everything anew at the next look: a file was repaired, by which its size need not have changed."""
        with self._lock:
            self._edits.clear()
            self._documents.clear()
            self._state = None

    def adopt(self, experiments: Iterable[ExperimentDocument]) -> None:
        """Make known experiments that shown runs or models name, as after one was dropped in.

        That is those that have no document, and those that were removed for good before.
        """
        with self._lock:
            for document in experiments:
                experiment_id = document.experiment_id
                if self._adopted.setdefault(experiment_id, document) is document and (
                    self._state is not None and experiment_id not in self._state.experiments
                ):
                    self._state = None

    def find(self, experiment_id: object) -> ExperimentState:
        """Return an experiment, deleted ones too, else raise `NotFoundError`."""
        key = parse_experiment_id(experiment_id)
        experiment = self.read().experiments.get(key)
        if experiment is None:
            raise NotFoundError(
                f"There is no experiment with the id {key} in {self._site.storage.uri}.",
                code=ErrorCode.EXPERIMENT_NOT_FOUND,
            )
        return experiment

    def find_by_name(self, name: str) -> ExperimentState | None:
        """Return the experiment that is shown under a name, deleted ones too; None if there is none."""
        name = validate_experiment_name(name)
        return next((e for e in self.read().experiments.values() if e.name == name), None)

    def recall(self, name_or_id: str) -> ExperimentState | None:
        """Return an experiment as it was at the last look, for when the store cannot be looked at; None if unknown."""
        with self._lock:
            known = {} if self._state is None else self._state.experiments
            found = known.get(name_or_id) or next((e for e in known.values() if e.name == name_or_id), None)
            return None if found is None or found.is_deleted else found

    def create(self, name: str, *, user: str = "", tags: Mapping[str, Any] | None = None) -> ExperimentState:
        """Make an experiment.

        Raises:
            AlreadyExistsError: The name is taken, if only by a deleted one. (Two processes that make it at the same
                moment make the same one.)

        Durability: its document is durable on return; the rest as the store's setting says.
        """
        self._site.require_open()
        name = validate_experiment_name(name)
        checked_tags = _validate_tags(tags or {})
        with self._lock:
            # One look decides both: an experiment that another process makes meanwhile must not count as an earlier
            # generation.
            state = self.read()
            known = next((e for e in state.experiments.values() if e.name == name), None)
            if known is not None:
                deleted = " It is deleted; restore it, or use another name." if known.is_deleted else ""
                raise AlreadyExistsError(
                    f"The experiment {name!r} already exists, with id {known.experiment_id}.", hint=deleted.strip()
                )
            document = _choose_id(name, state)
            self._admit_tags(name, {}, checked_tags)
            ensure_experiment_file(self._site.storage, document)
            self._append(
                ("created", {"name": name, "generation": document.generation, "user": user}, document.experiment_id),
                *([("tagged", {"tags": checked_tags, "user": user}, document.experiment_id)] if checked_tags else []),
            )
            return self.find(document.experiment_id)

    def ensure(self, name: str, *, user: str = "") -> ExperimentState:
        """Return the experiment of a name, making it if there is none. Any number of processes may do so at once.

        Raises:
            StateError: It is deleted.
        """
        with self._lock:
            if self._state is not None and 0 <= time.monotonic() - self._read_s < _RECENT_S:
                known = next((e for e in self._state.experiments.values() if e.name == name), None)
                if known is not None and not known.is_deleted:
                    return known
        experiment = self.find_by_name(name)
        if experiment is None:
            try:
                return self.create(name, user=user)
            except AlreadyExistsError:  # made by another process since
                experiment = self.find_by_name(name)
                assert experiment is not None
        return require_active(experiment)

    def rename(self, experiment_id: object, name: str, *, user: str = "") -> None:
        """Give an experiment another name.

        Raises:
            StateError: It is deleted.
            AlreadyExistsError: The name is taken.
        """
        name = validate_experiment_name(name)
        with self._lock:
            experiment = require_active(self.find(experiment_id))
            other = self.find_by_name(name)
            if other is not None and other.experiment_id != experiment.experiment_id:
                raise AlreadyExistsError(
                    f"The experiment {name!r} already exists, with id {other.experiment_id}.",
                    hint="Choose another name.",
                )
            self._append(("renamed", {"name": name, "user": user}, experiment.experiment_id))

    def tag(self, experiment_id: object, tags: Mapping[str, Any], *, user: str = "") -> None:
        """Set tags of an experiment; a value of None deletes one."""
        checked = _validate_tags(tags)
        with self._lock:
            experiment = require_active(self.find(experiment_id), error=InvalidInputError)
            self._admit_tags(experiment.name, experiment.tags, checked)
            self._append(("tagged", {"tags": checked, "user": user}, experiment.experiment_id))

    def delete(self, experiment_id: object, *, user: str = "") -> None:
        """Delete an experiment and so its runs; one that is deleted already stays so."""
        with self._lock:
            experiment = self.find(experiment_id)
            if not experiment.is_deleted:
                self._append(("deleted", {"user": user}, experiment.experiment_id))

    def restore(self, experiment_id: object, *, user: str = "") -> None:
        """Take back the deletion of an experiment, and that of all its runs, as MLflow does."""
        with self._lock:
            experiment = self.find(experiment_id)
            self._append(("restored", {"user": user}, experiment.experiment_id))

    def mark_runs(self, op: str, run_ids: list[str], *, user: str = "") -> None:
        """Record that runs were `deleted` or `restored`, any number of them in one record."""
        self._mark("runs", op, run_ids, user)

    def mark_models(self, op: str, model_ids: list[str], *, user: str = "") -> None:
        """Record that logged models were `deleted` or `restored`, any number of them in one record."""
        self._mark("models", op, model_ids, user)

    def known_quota(self) -> Mapping[str, Limit]:
        """Return the limits that were set as of the last look at the edits, which every start of a run comes after."""
        with self._lock:
            return (self._state or self.read()).quota

    def set_limits(self, limits: Mapping[str, Limit | None], *, user: str = "") -> None:
        """Set limits, or take them away, in one record."""
        self._site.require_open()
        with self._lock:
            stamp = self._next_stamp()
            payload = {
                "limits": {name: None if limit is None else list(limit) for name, limit in limits.items()},
                "time_ms": self._site.clock(),
                "user": user,
            }
            self._log.append(["quota", stamp, payload], stamp=stamp)
            self._state = None

    def bury(
        self, kind: Literal["run", "model"], entities: Mapping[str, Mapping[str, tuple[int, int]]], *, user: str = ""
    ) -> None:
        """Write tombstones: so much of these runs, or logged models, is removed for good.

        Args:
            kind: Which of the two.
            entities: Per id the positions.
            user: Who does it.

        Durability: durable on return, whatever the store's setting: files are removed because of it.
        """
        self._write_tombstones(
            (
                {kind: entity_id, "positions": {writer: list(position) for writer, position in positions.items()}}
                for entity_id, positions in entities.items()
            ),
            user,
        )

    def bury_experiment(self, experiment_id: str, *, user: str = "") -> None:
        """Write the tombstone of an experiment whose runs and logged models are gone. Durability: as for `bury`."""
        self._write_tombstones([{"experiment": experiment_id}], user)

    def _write_tombstones(self, payloads: Iterable[dict[str, Any]], user: str) -> None:
        self._site.require_open()
        with self._lock:
            stamp, now_ms = self._next_stamp(), self._site.clock()
            records: list[list[Any]] = [
                ["tombstone", stamp + number, {**payload, "time_ms": now_ms, "user": user}]
                for number, payload in enumerate(payloads)
            ]
            self._log.append(*records, stamp=stamp, is_durable=True)
            self._state = None

    def plan_experiment(self, name: str) -> ExperimentDocument:
        """Return the document of a new experiment of a name, which is not made yet."""
        with self._lock:
            return _choose_id(name, self.read())

    def add_edits(self, *edits: tuple[str, dict[str, Any], str]) -> None:
        """Record edits of experiments as they are, all in one write.

        Args:
            edits: (op, payload, experiment id) each; without a `time_ms` in the payload it is now.
        """
        with self._lock:
            self._append(*edits)

    def add_life_cycles(self, *edits: tuple[str, dict[str, Any]]) -> None:
        """Record life-cycle edits as they are, all in one write.

        Args:
            edits: `runs` or `models`, and the payload, each. See FORMAT.md section 9.2.
        """
        self._site.require_open()
        with self._lock:
            stamp = self._next_stamp()
            self._log.append(*([kind, stamp + n, payload] for n, (kind, payload) in enumerate(edits)), stamp=stamp)
            self._state = None

    def forget_after_fork(self) -> None:
        """In the child of a fork: the lock may be held by a thread that does not exist here."""
        self._lock = threading.RLock()

    def close(self) -> None:
        """Let go of this process's edits file."""
        self._log.close()

    def _mark(self, kind: str, op: str, ids: list[str], user: str) -> None:
        self._site.require_open()
        with self._lock:
            stamp = self._next_stamp()
            payload = {"op": op, kind: ids, "time_ms": self._site.clock(), "user": user}
            self._log.append([kind, stamp, payload], stamp=stamp)
            self._state = None

    def _append(self, *edits: tuple[str, dict[str, Any], str]) -> None:
        self._site.require_open()
        stamp, now_ms = self._next_stamp(), self._site.clock()
        records: list[list[Any]] = [
            ["experiment", stamp + n, {"id": experiment_id, "op": op, "time_ms": now_ms, **payload}]
            for n, (op, payload, experiment_id) in enumerate(edits)
        ]
        self._log.append(*records, stamp=stamp)
        self._state = None

    def _admit_tags(self, name: str, tags: Mapping[str, str], changes: Mapping[str, str | None]) -> None:
        """Raise `QuotaExceededError` if an experiment may not have so many tags."""
        limit = self.known_quota().get("experiment.tags")
        new = {key for key, value in changes.items() if value is not None} - tags.keys()
        if limit is not None and new:
            from localtrack.store.run_quota import require_within

            what = f"The experiment {name!r}"
            require_within("experiment.tags", limit, len(tags), len(tags) + len(new), what=what, said=self._said)

    def _all_edits(self) -> Iterator[Edit]:
        for _, edits, _, _ in self._edits.values():
            yield from edits

    def _forget_removed(self) -> None:
        """Look anew for runs and models of experiments that were removed for good: they may be gone by now."""
        for edit in self._all_edits():
            if edit.kind == "tombstone" and "experiment" in edit.payload:
                self._adopted.pop(edit.payload["experiment"], None)

    def _next_stamp(self) -> int:
        return max(self._site.clock(), self.read().greatest_stamp + 1)

    def _read_documents(self) -> bool:
        changed = False
        self.findings = [Finding(f"{PACKS}/{name}", problem) for name, problem in self._site.packs.problems().items()]
        for entry in self._site.storage.entries(EXPERIMENTS):
            experiment_id, _, extension = entry.name.rpartition(".")
            if entry.is_folder or extension != "json" or experiment_id in self._documents:
                continue
            key = f"{EXPERIMENTS}/{entry.name}"
            try:
                document = parse_experiment(self._site.storage.read(key), where=key)
            except FileNotFoundError:
                continue  # removed since it was listed
            except FormatError as error:
                self.findings.append(Finding(key, str(error)))
                continue
            except StorageError as error:
                if not is_forbidden(error):
                    raise
                self.findings.append(Finding(key, error.message, ErrorCode.READ_ONLY))
                continue
            if document.experiment_id != experiment_id:
                self.findings.append(Finding(key, f"it names another experiment, {document.experiment_id!r}"))
                continue
            self._documents[experiment_id] = document
            changed = True
        return changed

    def _read_edit_files(self) -> bool:
        changed = False
        entries = self._site.storage.entries(EDITS)
        parts = count_parts(entries)
        for name, size in gather_logs(entries).items():
            known = self._edits.get(name)
            file = parse_run_file(name)
            if (known is not None and known[0] == size) or file is None or file.kind != "log":
                continue
            try:
                data = read_log(self._site.storage, f"{EDITS}/{name}", parts_count=parts.get(name))
            except StorageError as error:
                if not is_forbidden(error):
                    raise
                self.findings.append(Finding(f"{EDITS}/{name}", error.message, ErrorCode.READ_ONLY))
                continue
            edits, lines = read_edits(data, writer=file.writer)
            self._edits[name] = (size, edits, lines.problems, lines.newer)
            changed = True
        self.findings += [
            Finding(f"{EDITS}/{name}", problem)
            for name, (_, _, problems, _) in self._edits.items()
            for problem in problems
        ]
        return changed


def require_active(
    experiment: ExperimentState, *, error: type[StateError] | type[InvalidInputError] = StateError
) -> ExperimentState:
    """Return the experiment if it is not deleted, else raise."""
    if experiment.is_deleted:
        raise error(
            f"The experiment {experiment.name!r} ({experiment.experiment_id}) is deleted.",
            code=ErrorCode.EXPERIMENT_DELETED,
            hint="Restore it, or use another one.",
        )
    return experiment


def _choose_id(name: str, known: EditsState) -> ExperimentDocument:
    """Return the document of a new experiment: the lowest generation whose id was never used."""
    generation = 0
    while known.find_experiment(encode_experiment_id(name, generation)) is not None:
        generation += 1
    return ExperimentDocument(encode_experiment_id(name, generation), name, generation)


def _validate_tags(tags: Mapping[str, Any]) -> dict[str, str | None]:
    return {
        validate_key(key, "tag"): None
        if value is None
        else validate_value(value, "experiment tag", key, MAX_EXPERIMENT_TAG_VALUE_CHARS, truncate=False)
        for key, value in tags.items()
    }


_alive: weakref.WeakSet[Catalog] = weakref.WeakSet()


def _forget_after_fork() -> None:
    for catalog in list(_alive):
        catalog.forget_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
