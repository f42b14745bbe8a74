"""A process without standard streams: what is printed to them must not land in the files of a store."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.conformance.library_reading import assert_agreement

from localtrack.api.store import Store

PROGRAM = """
import os, sys
for fd in (0, 1, 2):
    os.close(fd)
from localtrack import Store
def print_as_a_library_does():
    for fd in (0, 1, 2):
        try:
            os.write(fd, b"a line of some library")
        except OSError:
            pass
with Store.open(sys.argv[1]) as store:
    store._site.log_points_bytes = int(sys.argv[2])
    with store.start_run("e", context=False) as run:
        for step in range(4):
            run.log_metric("loss", 1 / (step + 1), step=step)
            print_as_a_library_does()
        run.log_text("x", "notes.txt")
        print_as_a_library_does()
    print_as_a_library_does()
"""


@pytest.mark.parametrize("log_points_bytes", [64 * 1024, 0], ids=["in the log", "in a chunk"])
def test_what_is_printed_without_streams_damages_nothing(tmp_path: Path, log_points_bytes: int) -> None:
    root = tmp_path / "store"
    subprocess.run([sys.executable, "-c", PROGRAM, str(root), str(log_points_bytes)], check=True)
    with Store.open(root, create=False) as store:
        (row,) = store.search_runs()
        assert store.metric_history(row.info.run_id)["value"].to_pylist() == [1.0, 1 / 2, 1 / 3, 1 / 4]
        assert store.check().findings == []
    assert_agreement(root)
