"""Copies of stores on machines whose clocks differ, what was acknowledged in them, and what they say once merged."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

from tests.independent.packs import unpacked

from localtrack.api.run import ActiveRun
from localtrack.api.store import Store
from localtrack.storage.local import LocalStorage
from localtrack.storage.syncer import syncer
from localtrack.store.background import sealer
from localtrack.store.packing.pack_files import drop_folders
from localtrack.store.site import open_site
from localtrack.types import LoggedModel, ViewType

LOG_POINTS_BYTES = 1_100
"""A header, the first tags and some points: then chunks begin."""
CHUNK_BYTES = 520
"""A header and some eight points."""
NOW_MS = 1_790_000_000_000

Point = tuple[str, int, int, float]
"""Key, step, timestamp in ms, value."""
Said = tuple[str, str, str, Any]
"""Run or experiment id, kind of record, key, value."""


@contextmanager
def quiet_machine() -> Iterator[None]:
    """Take away what makes two runs of one schedule differ, and waiting: random ids, threads, the disk."""
    count = 0

    def chosen_bytes(length: int) -> bytes:
        nonlocal count
        count += 1
        return hashlib.sha256(str(count).encode()).digest()[:length]

    with ExitStack() as patches:
        patches.enter_context(patch.object(os, "urandom", chosen_bytes))
        patches.enter_context(patch.object(os, "fsync", lambda fd: None))
        patches.enter_context(patch.object(sealer, "ask", lambda *args, **kwargs: None))
        patches.enter_context(patch.object(syncer, "add", lambda *args, **kwargs: None))
        yield


class Clock:
    """A machine's clock: it stands still until it is set."""

    def __init__(self, now_ms: int = NOW_MS) -> None:
        self.now_ms = now_ms

    def __call__(self) -> int:
        return self.now_ms


def open_store(root: Path, clock: Clock) -> Store:
    """Open or make a store whose runs come to chunks quickly."""
    site = open_site(
        LocalStorage(str(root)),
        create=True,
        clock=clock,
        log_points_bytes=LOG_POINTS_BYTES,
        chunk_bytes=CHUNK_BYTES,
    )
    return Store(site, on_error="raise")


@dataclass
class Place:
    """One copy of the store on one machine, and the processes that write there."""

    root: Path
    clock: Clock
    store: Store
    runs: list[ActiveRun] = field(default_factory=list)

    def die(self) -> None:
        """Kill all processes of this place: their files stay as they are, open for ever."""
        for run in self.runs:
            run._writer.forget_after_fork()
        self.runs.clear()
        for writer in self.store._models._writers.values():
            writer.forget_after_fork()
        self.store._models._writers.clear()
        self.store._catalog._log.forget_after_fork()
        self.store._runs.inbox._log.forget_after_fork()
        self.store = open_store(self.root, self.clock)

    def run_ids(self, *, is_deleted: bool | None = None) -> list[str]:
        views = {None: ViewType.ALL, True: ViewType.DELETED_ONLY, False: ViewType.ACTIVE_ONLY}
        rows = self.store.search_runs(max_results=None, run_view_type=views[is_deleted])
        return sorted(row.info.run_id for row in rows)

    def model_ids(self) -> list[str]:
        return sorted(model.model_id for model in self.store.list_logged_models(view_type=ViewType.ALL))

    def experiment_ids(self, *, is_deleted: bool) -> list[str]:
        view = ViewType.DELETED_ONLY if is_deleted else ViewType.ACTIVE_ONLY
        return sorted(e.experiment_id for e in self.store.list_experiments(view) if e.experiment_id != "0")


class World:
    """All places, and all that was acknowledged anywhere."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.places: list[Place] = []
        self.points: dict[str, set[Point]] = defaultdict(set)
        self.said: set[Said] = set()
        self.models: set[str] = set()
        self.removed_models: set[str] = set()
        self.artifacts: dict[tuple[str, str], set[bytes]] = defaultdict(set)
        self.removed_points: dict[str, set[Point]] = defaultdict(set)
        self.removed_said: set[Said] = set()
        self.removed_runs: set[str] = set()
        self.is_cut = False
        """A copy was cut short: artifacts may need a second merge to settle."""
        self._count = 0

    def number(self) -> int:
        """Return a number that was not used before: what carries it is told apart from all else."""
        self._count += 1
        return self._count

    def add_place(self, *, offset_ms: int = 0) -> Place:
        root = self.root / f"place{len(self.places)}"
        clock = Clock(NOW_MS + offset_ms)
        self.places.append(Place(root, clock, open_store(root, clock)))
        return self.places[-1]

    def copy_place(self, source: Place, *, offset_ms: int, cut: random.Random | None) -> Place:
        """Copy a store file by file, as `cp -r` does; with `cut` some files are missing, some end early."""
        root = self.root / f"place{len(self.places)}"
        root.mkdir()
        shutil.copy(source.root / "localtrack.json", root)
        for path in sorted(source.root.rglob("*")):
            name = path.relative_to(source.root)
            if path.is_dir() or name.parts[0] in ("localtrack.json", "locks"):
                continue
            if cut is not None and cut.random() < 0.25:
                continue
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            data = path.read_bytes()
            if cut is not None and cut.random() < 0.4:
                data = data[: cut.randrange(len(data) + 1)]
            (root / name).write_bytes(data)
        self.is_cut |= cut is not None
        clock = Clock(source.clock.now_ms + offset_ms)
        self.places.append(Place(root, clock, open_store(root, clock)))
        return self.places[-1]

    def remove_run(self, place: Place, run_id: str) -> bool:
        """Remove a run for good, as garbage collection will: a tombstone of what is here, then the files."""
        report = place.store.describe_run(run_id)
        points = history(place.store, run_id)
        if len(points) != sum(count for _, count in report.positions.values()):
            return False  # what is here has gaps: a tombstone would cover what others have
        catalog = place.store._catalog
        stamp = catalog._next_stamp()
        payload = {
            "run": run_id,
            "positions": {writer: list(position) for writer, position in report.positions.items()},
            "time_ms": place.clock(),
            "user": "",
        }
        catalog._log.append(["tombstone", stamp, payload], stamp=stamp)
        self.removed_points[run_id] |= set(points)
        with unpacked(place.root, []) as loose:
            self.removed_said |= said_in(_folder_of(loose, run_id))
        self.removed_runs.add(run_id)
        packs = place.store._site.packs
        for folder in place.root.glob(f"runs/*/{run_id}"):
            shutil.rmtree(folder)
        drop_folders(
            packs, {key for pack in packs.packs().values() for m in pack.members if run_id in (key := m.folder)}
        )
        return True


def _folder_of(root: Path, run_id: str) -> Path:
    (folder,) = root.glob(f"runs/*/{run_id}")
    return folder


def history(store: Store, run_id: str) -> list[Point]:
    """Return all points of a run."""
    table = store.metric_history(run_id).to_pydict()
    return list(zip(table["key"], table["step"], table["timestamp_ms"], table["value"], strict=True))


def said_in(root: Path) -> set[Said]:
    """Return every param, tag and edit that stands in some log below a folder, read as plain JSON lines."""
    said: set[Said] = set()
    for path in root.rglob("*.jsonl"):
        lines = path.read_bytes().split(b"\n")[:-1]
        records = [json.loads(line) for line in lines]
        header = records[0][1] if records else {}
        run_id = header.get("run", header.get("model", ""))
        for record in records:
            said.update(_said(run_id, record))
    return said


def _said(run_id: str, record: list[Any]) -> Iterable[Said]:
    kind, payload = record[0], record[-1]
    if kind in ("param", "tag"):
        return ((run_id, kind, key, value) for key, value in payload.items())
    if kind == "info" and "status" in payload:
        return [(run_id, kind, "status", payload["status"])]
    if kind == "batch":
        return [
            (run_id, name, key, value)
            for name, field_name in (("param", "params"), ("tag", "tags"))
            for key, value in payload.get(field_name, {}).items()
        ]
    if kind in ("runs", "models"):
        return [(id_, kind, payload["op"], "") for id_ in payload[kind]]
    if kind == "dataset":
        return [(run_id, kind, payload["name"], payload["digest"])]
    if kind in ("input", "output"):
        return [(run_id, kind, payload["model"], payload.get("step"))]
    if kind == "metric":
        return [(run_id, kind, payload["key"], payload["value"])]
    if kind == "model":
        return [(run_id, kind, payload["name"], payload["source_run"])]
    if kind == "experiment" and payload["op"] == "tagged":
        return [(payload["id"], "tagged", key, value) for key, value in payload["tags"].items()]
    if kind == "experiment":
        return [(payload["id"], payload["op"], "", payload.get("name", ""))]
    return []


def dump(store: Store) -> dict[str, Any]:
    """Return all that a store says, as one plain value: equal for equal answers."""
    experiments = {
        e.experiment_id: [
            e.name,
            e.lifecycle_stage,
            dict(sorted(e.tags.items())),
            # Default comes with each store, and is as old as that one.
            e.creation_time if e.experiment_id != "0" else 0,
            e.last_update_time if e.experiment_id != "0" else 0,
        ]
        for e in store.list_experiments(ViewType.ALL)
    }
    rows = store.search_runs(run_view_type=ViewType.ALL, max_results=None)
    runs = {}
    for row in rows:
        info = row.info
        runs[info.run_id] = {
            "info": [info.experiment_id, info.run_name, info.user_id, info.status, info.start_time, info.end_time],
            "lifecycle": info.lifecycle_stage,
            "params": dict(sorted(row.params.items())),
            "tags": dict(sorted(row.tags.items())),
            "metrics": {key: [repr(v) for v in summary] for key, summary in sorted(row.metrics.items())},
            "points": [[*point[:3], repr(point[3])] for point in history(store, info.run_id)],
            "artifacts": artifacts(store, info.run_id),
            "links": [repr(row.datasets), repr(row.model_inputs), repr(row.model_outputs)],
        }
    listed = store.list_logged_models(view_type=ViewType.ALL)
    return {"experiments": experiments, "runs": runs, "models": {model.model_id: _said_of(model) for model in listed}}


def _said_of(model: LoggedModel) -> dict[str, Any]:
    """Return all that a store says of a logged model but for where it lies."""
    mappings = {name: dict(sorted(getattr(model, name).items())) for name in ("params", "tags")}
    said = {name: repr(getattr(model, name)) for name in LoggedModel.__slots__ if name != "artifact_location"}
    return said | mappings


def artifacts(store: Store, run_id: str, path: str = "") -> dict[str, bytes]:
    """Return path → content of all artifacts of a run."""
    found: dict[str, bytes] = {}
    for entry in store.list_artifacts(run_id, path):
        if entry.is_dir:
            found |= artifacts(store, run_id, entry.path)
        else:
            found[entry.path] = Path(store.download_artifacts(run_id, entry.path)).read_bytes()
    return found


def artifact_records(root: Path) -> dict[tuple[str, str], list[str]]:
    """Return (run id, path) → SHA-256 of all artifact records in a store, in their order: (stamp, writer, place)."""
    found: list[tuple[int, str, int, str, str, str]] = []
    for path in root.glob("runs/*/*/*.jsonl"):
        header, *records = [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]
        for place, record in enumerate(records):
            if record[0] == "artifact":
                what = record[2]
                found.append((record[1], path.name, place, header[1]["run"], what["path"], what["sha256"]))
    ordered: dict[tuple[str, str], list[str]] = defaultdict(list)
    for _, _, _, run_id, name, sha256 in sorted(found):
        ordered[run_id, name].append(sha256)
    return ordered


def artifact_contents(place: Place) -> Iterator[tuple[str, str, bytes]]:
    """Yield run id, path and content of every artifact file of a place."""
    for path in place.root.glob("runs/*/*/artifacts/**/*"):
        if path.is_file():
            _, _, run_id, _, *parts = path.relative_to(place.root).parts
            yield run_id, "/".join(parts), path.read_bytes()


def difference(first: Any, second: Any, where: str = "") -> list[str]:
    """Return where two dumps differ, and in what."""
    if isinstance(first, dict) and isinstance(second, dict):
        found = []
        for key in sorted(first.keys() | second.keys()):
            if (key in first) != (key in second):
                found.append(f"{where}/{key} is only in the {'first' if key in first else 'second'}")
            else:
                found += difference(first[key], second[key], f"{where}/{key}")
        return found
    return [] if first == second else [f"{where}: {first} != {second}"]
