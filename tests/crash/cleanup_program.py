"""Maintenance of a store, with one fault somewhere, and what must hold afterwards: every answer as before."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import random
import re
import shutil
import time
import traceback
from pathlib import Path
from typing import Any

from tests.conformance.library_reading import assert_agreement, read_with_library
from tests.crash.deeds import make, open_store, plan_call
from tests.crash.faults import Fault, Operations
from tests.crash.program import AT_MS, SMALL_BYTES, in_turn

from localtrack.api.store import Store
from localtrack.errors import LocaltrackError

VICTIMS_COUNT = 2
KEPT_COUNT = 2
DAY_S = 86_400
_OF_THE_MOMENT = re.compile(rb'\d{13}|"(?:pid|crc)":\d+|"start":"\d+"|(?<=^\["c",)[\d,]+', re.MULTILINE)
"""What differs in the files of two processes that do the same: times, who they are, and checksums of both."""


def make_store(root: str, report: str, *, is_packed: bool) -> int:
    """Make the store that is looked after: some runs to keep, some deleted; short and long, with artifacts."""
    store = open_store(root, SMALL_BYTES)
    ids = []
    for number in range(VICTIMS_COUNT + KEPT_COUNT):
        run = store.start_run("e", context=False)
        for call in range(30 if number % 2 == 0 else 4):
            make(run, plan_call(call, "a"), at_ms=AT_MS + call)
        run.log_text(f"artifact {number}", "folder/text.txt")
        run.end()
        ids.append(run.run_id)
    store.delete_run(*ids[:VICTIMS_COUNT])
    gone = store.create_experiment("gone", tags={"team": "a"})
    models = [_make_model(store, experiment) for experiment in ("e", "e", "gone")]
    with store.start_run("gone", context=False) as run:
        run.log_metric("loss", 0.5)
    store.delete_logged_model(models[0])
    store.delete_experiment(gone)
    victims = [*ids[:VICTIMS_COUNT], run.run_id, models[0], models[2], gone]
    if is_packed:
        store.pack(older_than="0s")
        store.set_run_tags(ids[-1], {"later": "yes"})
    store.close()
    day = next(Path(root, "runs").iterdir())
    (day.parent.parent / "edits/.tmp-old").write_bytes(b"unfinished")
    os.utime(day.parent.parent / "edits/.tmp-old", (1, 1))
    Path(report).write_text(json.dumps({"victims": victims, "answers": read_with_library(Path(root))}))
    _make_older(Path(root))
    return 0


def _make_older(root: Path) -> None:
    """Have everything changed an hour ago: the index looks otherwise at what changed a moment ago."""
    at_s = time.time() - 3_600
    for path in [root, *root.rglob("*")]:
        if path.name != ".tmp-old":
            os.utime(path, (at_s, at_s), follow_symlinks=False)


def _make_model(store: Store, experiment: str) -> str:
    made = store.create_logged_model(store.ensure_experiment(experiment).experiment_id, "net", params={"depth": "3"})
    folder = Path(made.artifact_location)
    folder.mkdir()
    (folder / "MLmodel").write_text("flavors: {}\n")
    return made.model_id


def look_after(root: str, deed: str, report: str, fault: dict[str, Any] | None = None) -> int:
    """Do one kind of maintenance, and leave in `report` what it did to files and what went wrong that may not."""
    operations = Operations(root, Fault(**fault) if fault else None)
    in_turn()
    _make_the_same_names()
    operations.install()
    problem = ""
    try:
        store = Store.open(root, create=False)
        _do(store, deed)
        store.close()
    except LocaltrackError:
        pass  # what the disk refuses is said so, and may leave the work half done
    except Exception:  # whatever else comes out of the library here is what the test wants to see
        problem = traceback.format_exc()
    Path(report).write_text(json.dumps({"operations": operations.seen, "past": operations.past, "problem": problem}))
    return 0


def _make_the_same_names() -> None:
    """Give this process the random bytes that each process has which does the same, so that trials can be compared."""
    counter = itertools.count()

    def urandom(size: int) -> bytes:
        return hashlib.shake_256(b"look after %d" % next(counter)).digest(size)

    os.urandom = urandom
    random._urandom = urandom  # type: ignore[attr-defined]  # the module `secrets` goes by it


def fingerprint(root: str) -> str:
    """Return what is equal for two stores that a judge cannot tell apart: all names and bytes, but for the moment."""
    digest = hashlib.sha256()
    for folder, folders, files in os.walk(root):
        folders.sort()
        for name in sorted(files):
            path = os.path.join(folder, name)
            is_old = os.lstat(path).st_mtime < time.time() - DAY_S
            data = os.fsencode(os.readlink(path)) if os.path.islink(path) else Path(path).read_bytes()
            text = _OF_THE_MOMENT.sub(b"#", data)
            digest.update(f"{os.path.relpath(path, root)} {is_old} {len(text)}\n".encode() + text)
        digest.update(f"{os.path.relpath(folder, root)} {folders}\n".encode())
    return digest.hexdigest()


def _do(store: Store, deed: str) -> None:
    if deed == "gc":
        store.gc(dry_run=False, older_than="0s")
    elif deed == "pack":
        store.pack(older_than="0s")
    else:
        store.unpack()


def judge(root: str, deed: str, made: str, report: str) -> int:
    """Leave in `report` what is wrong with the store, before and after the work is done once more, without a fault."""
    problems: list[str] = []
    try:
        expected = json.loads(Path(made).read_text())
        problems += [f"at once: {it}" for it in _compare(root, expected, is_done=False, deed=deed)]
        with Store.open(root, create=False) as store:
            _do(store, deed)
        problems += [f"later: {it}" for it in _compare(root, expected, is_done=True, deed=deed)]
        with Store.open(root, create=False) as store:
            found = store.check().findings
            problems += [f"{it.key}: {it.what}" for it in found if it.severity != "info"]
    except Exception:  # whatever comes out of the library here is what the test wants to see
        problems.append(traceback.format_exc())
    Path(report).write_text(json.dumps(problems))
    return 0


def _compare(root: str, expected: dict[str, Any], *, is_done: bool, deed: str) -> list[str]:
    found = json.loads(json.dumps(assert_agreement(Path(root))))
    answers = expected["answers"]
    problems = []
    if found["findings"]:
        problems.append(f"findings: {found['findings']}")
    victims = set(expected["victims"]) if deed == "gc" else set()
    for kind in ("experiments", "runs", "models"):
        there = found.get(kind, {})
        if not there.keys() <= answers[kind].keys():
            problems.append(f"{kind} that nobody made")
        for entity_id, said in answers[kind].items():
            if entity_id in victims and entity_id not in there:
                continue
            if there.get(entity_id) != said or (is_done and entity_id in victims):
                problems.append(f"{kind}: {entity_id} is not as it should be")
    inside = {it["experiment_id"] for kind in ("runs", "models") for it in found.get(kind, {}).values()}
    if not inside <= found["experiments"].keys():
        problems.append("an experiment went before what is in it")
    return problems


def copy_store(source: str, target: str) -> None:
    """Put a copy of the made store in place, times of files kept."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, symlinks=True)
