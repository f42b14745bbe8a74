"""Processes that log, search and compact one store at the same time: what was acknowledged before is in the answer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.property.index_world import assert_index_agrees

from localtrack.api.store import Store

REPOSITORY = Path(__file__).parents[2]

LOG = """
import sys
from localtrack.api.store import Store
root, said, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
with open(said, "a", buffering=1) as file:
    for number in range(count):
        with Store.open(root) as store:  # each as a short job: an inbox file of its own
            with store.start_run("e", context=False) as run:
                run.log_metrics({"loss": number / count})
            file.write(run.run_id + "\\n")
            if number % 5 == 4:
                store.set_run_tags(run.run_id, {"note": "a"})
                file.write(run.run_id + " note\\n")
"""

SEARCH = """
import sys
from pathlib import Path
from localtrack.api.store import Store
from localtrack.errors import LockedError
from localtrack.store.index import search_index
search_index.WORTH_RUNS, search_index.WORTH_FILES = 5, 3
root, said, wanted = sys.argv[1], [Path(name) for name in sys.argv[3:]], int(sys.argv[2])
store = Store.open(root)
searches = 0
while True:
    acknowledged = [line.split() for path in said if path.exists() for line in path.read_text().split("\\n")[:-1]]
    found = {row.info.run_id: row for row in store.search_runs(max_results=None)}
    for run_id, *tags in acknowledged:
        assert run_id in found, f"{run_id} is missing after {searches} searches"
        assert all(tag in found[run_id].tags for tag in tags), f"{run_id} lacks {tags}"
        assert found[run_id].info.status == "FINISHED"
    searches += 1
    try:
        if searches % 3 == 0:
            store.compact()
    except LockedError:
        pass  # another process does
    if len(found) == wanted:
        break
    if searches % 7 == 0:
        store = Store.open(root)
print(searches)
"""


def test_nothing_acknowledged_is_missing_while_others_compact(tmp_path: Path) -> None:
    root, count = tmp_path / "store", 40
    Store.open(root).close()
    said = [tmp_path / "said0", tmp_path / "said1"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src")}

    def start(code: str, *arguments: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", code, *map(str, arguments)]
        return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    processes = [start(LOG, root, path, count) for path in said]
    processes += [start(SEARCH, root, 2 * count, *said) for _ in range(2)]
    for process in processes:
        _, problem = process.communicate(timeout=240)
        assert (process.returncode, problem) == (0, "")
    with Store.open(root) as store:
        assert_index_agrees(store)
        report = store.compact()
        assert report.runs_count == 2 * count
        assert report.segments_count <= 6
    assert len(list((root / "inbox").iterdir())) <= 3
    assert len(list((root / "index/v1").iterdir())) <= 6 * 6 + 1
