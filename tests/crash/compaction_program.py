"""A search that compacts the index, with a fault somewhere; afterwards searches must answer as a full read does."""

from __future__ import annotations

import json
import shutil
import traceback
from pathlib import Path
from typing import Any

from tests.crash.deeds import open_store
from tests.crash.faults import Fault, Operations
from tests.crash.program import SMALL_BYTES, in_turn
from tests.property.index_world import assert_index_agrees

from localtrack.api.store import Store
from localtrack.errors import LocaltrackError


def _log_runs(root: str, count: int) -> list[str]:
    """Log short runs as a process that ends does."""
    store = open_store(root, SMALL_BYTES)
    ids = []
    for number in range(count):
        with store.start_run("e", context=False) as run:
            run.log_metrics({"loss": number / 10, "acc": 0.5})
            run.log_params({"lr": "0.1"})
        ids.append(run.run_id)
    store.close()
    return ids


def make_store(root: str) -> int:
    """Make a store whose index covers some runs, while others came, changed and went since."""
    ids = _log_runs(root, 4)
    with Store.open(root) as store:
        store.compact()
        store.set_run_tags(ids[0], {"note": "a"})
        store.delete_run(ids[1])
    (folder,) = Path(root).glob(f"runs/*/{ids[2]}")
    shutil.rmtree(folder)
    _log_runs(root, 2)
    return 0


def compact(root: str, report: str, fault: dict[str, Any] | None = None) -> int:
    """Search, compact, change something, compact again; leave in `report` what that did to files."""
    operations = Operations(root, Fault(**fault) if fault else None)
    in_turn()
    operations.install()
    problem = ""
    try:
        store = Store.open(root, create=False)
        store.search_runs()
        store.compact()
        store.set_run_tags(store.search_runs()[0].info.run_id, {"note": "b"})
        store.compact()
        store.close()
    except LocaltrackError:
        pass  # what the disk refuses is said so
    except Exception:  # whatever else comes out of the library here is what the test wants to see
        problem = traceback.format_exc()
    Path(report).write_text(json.dumps({"operations": operations.seen, "past": operations.past, "problem": problem}))
    return 0


def judge(root: str, report: str) -> int:
    """Leave in `report` what is wrong with the answers, and with what lies there once somebody has compacted."""
    problems: list[str] = []
    try:
        with Store.open(root, create=False) as store:
            assert_index_agrees(store)
            store.compact()
            assert_index_agrees(store)
        with Store.open(root, create=False) as store:
            assert_index_agrees(store)
        manifest = json.loads(Path(root, "index/v1/manifest.json").read_text().splitlines()[0])[0]
        named = {segment[0] for segment in manifest["segments"]}
        left = {path.name.partition(".")[0] for path in Path(root, "index/v1").iterdir()} - named - {"manifest"}
        problems += [f"left over: {name}" for name in sorted(left)]
        problems += [f"left over: {path.name}" for path in Path(root, "inbox").glob(".tmp-*")]
        markers = [path.name for path in Path(root, "inbox").glob("*.covered")]
        if markers != [f"{manifest['token']}.covered"]:
            problems.append(f"markers: {markers}")
    except Exception:  # the test shows it
        problems.append(traceback.format_exc())
    Path(report).write_text(json.dumps(problems))
    return 0
