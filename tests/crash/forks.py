"""A process that has everything loaded and forks: thousands of processes to kill, for what one import costs.

Forking the test process itself is out of the question: it has threads.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import subprocess
import sys
import traceback
from pathlib import Path
from types import TracebackType
from typing import Any

REPOSITORY = Path(__file__).parents[2]
_PRELOADED = (
    "duckdb",
    "filelock",
    "localtrack.api.dataset_inputs",
    "localtrack.api.store",
    "localtrack.format.segment",
    "localtrack.query.connection",
    "localtrack.query.index_direct",
    "localtrack.query.index_snapshot",
    "localtrack.query.search",
    "localtrack.storage.locks",
    "localtrack.store.cleaning.collection",
    "localtrack.store.history",
    "localtrack.store.index.compaction",
    "localtrack.store.index.search_index",
    "localtrack.store.index.segment_write",
    "localtrack.store.merging",
    "localtrack.store.model_writer",
    "localtrack.store.packing.pack_merging",
    "localtrack.store.packing.packing",
    "sqlglot.parser",
)


class Forks:
    """The side of the test: tells the server what to run, and gets process ids."""

    def __init__(self) -> None:
        source = os.pathsep.join([str(REPOSITORY / "src"), str(REPOSITORY)])
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.forks"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": source, "PYTHONDONTWRITEBYTECODE": "1"},
        )

    def __enter__(self) -> Forks:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.close()
        self._server.wait()
        self._server.stdout.close()

    def start(self, function: str, **arguments: Any) -> int:
        """Run `module:function` in a new process, and return its id, which stays its own until `wait`."""
        return int(self._ask({"function": function, "arguments": arguments}))

    def wait(self, pid: int) -> int:
        """Return the exit code of a process once it has ended; negative: the signal."""
        return int(self._ask({"pid": pid}))

    def run(self, function: str, **arguments: Any) -> int:
        """Run `module:function` to its end, and return its exit code: 0, or 1 if it raised."""
        return self.wait(self.start(function, **arguments))

    def kill(self, pid: int) -> None:
        """Kill a process that was started here."""
        os.kill(pid, signal.SIGKILL)
        self.wait(pid)

    def _ask(self, question: dict[str, Any]) -> str:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(question) + "\n")
        self._server.stdin.flush()
        answer = self._server.stdout.readline()
        if not answer:
            raise RuntimeError("the fork server has ended; what it said is on the error output")
        return answer


def _serve() -> None:
    for name in _PRELOADED:
        importlib.import_module(name)
    _warm_up()
    gc.freeze()  # what is loaded stays; looking through it would copy its pages in each process
    known: dict[str, Any] = {}
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    for line in sys.stdin:
        question = json.loads(line)
        if "pid" in question:
            _, status = os.waitpid(question["pid"], 0)
            answers.write(f"{os.waitstatus_to_exitcode(status)}\n")
            continue
        name = question["function"]
        if name not in known:  # before the fork, so that it is loaded once
            module, _, function = name.partition(":")
            known[name] = getattr(importlib.import_module(module), function)
        pid = os.fork()
        if pid == 0:
            _become(known[name], question["arguments"])
        answers.write(f"{pid}\n")


def _warm_up() -> None:
    """Have PyArrow find its kernels and encodings here once, and not in each process. Threads it begins anew there."""
    import io

    from localtrack.format.segment import (
        SegmentInfo,
        build_table,
        fold_table,
        merge_segments,
        read_points,
        write_segment,
    )

    info = SegmentInfo(run="0" * 32, writer="0" * 20, chunks=(0, 0))
    table = build_table(["m"], [0, 0], number=[0, 1], step=[0, 1], timestamp_ms=[0, 1], value=[0.5, 1.5])
    sinks = [io.BytesIO(), io.BytesIO()]
    write_segment(sinks[0], iter([table]), info)
    fold_table(read_points(sinks[0]))
    write_segment(sinks[1], merge_segments([sinks[0]]), info)


def _become(function: Any, arguments: dict[str, Any]) -> None:
    code = 1
    try:
        code = int(function(**arguments) or 0)
    except BaseException:  # whatever it was, this process must not come to be a second server
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve()
