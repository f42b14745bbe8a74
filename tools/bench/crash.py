"""kill -9 at random moments: what was acknowledged must be there, once."""

from __future__ import annotations

import math
import os
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from tools.bench.crash_audit import Audit, audit_driver
from tools.bench.harness import Setting
from tools.bench.processes import REPOSITORY, make_environment
from tools.bench.results import Bound, Comparison, Result, Series

NAME = "crash"
SUMMARY = "kill -9 at random moments while logging"
NONE = Bound(0)
ALL = Bound(1, at_least=True)
START_TIMEOUT_S = 60.0
LONGEST_LIFE_S = 0.25
"""How long drivers log at most, together, before the last is killed."""
READ_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Mode:
    """How many drivers at once, and where they log."""

    name: str
    drivers: int
    same_run: bool = False
    chunk_bytes: int | None = None


MODES = (
    Mode("one process", 1),
    Mode("one process, sealing all the time", 1, chunk_bytes=8 * 1024),
    Mode("four processes, a run each", 4),
    Mode("four processes, one run", 4, same_run=True),
)


class Driver:
    """One process to be killed, and what it has acknowledged."""

    def __init__(self, store_root: str, prefix: str, run_id: str | None, mode: Mode) -> None:
        self.prefix = prefix
        self._text = b""
        command = [sys.executable, "-m", "tools.bench.crash_driver", store_root, prefix]
        command += ["--run-id", run_id] if run_id else []
        command += ["--chunk-bytes", str(mode.chunk_bytes)] if mode.chunk_bytes else []
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, env=make_environment(REPOSITORY))
        assert self._process.stdout is not None
        self._stdout = self._process.stdout
        os.set_blocking(self.fileno(), False)

    def fileno(self) -> int:
        """Return the pipe, for `select`."""
        return self._stdout.fileno()

    def read(self) -> bool:
        """Take what the pipe holds; return False at its end."""
        while True:
            try:
                text = os.read(self.fileno(), READ_BYTES)
            except BlockingIOError:
                return True
            if not text:
                return False
            self._text += text

    def kill(self) -> None:
        """Kill, then take what was still in the pipe. Killing twice is fine."""
        self._process.kill()
        self._process.wait()
        if not self._stdout.closed:
            while self.read():
                pass
            self._stdout.close()

    @property
    def has_begun(self) -> bool:
        """Whether a call was acknowledged."""
        return self._text.count(b"\n") >= 2

    @property
    def run_id(self) -> str:
        """The run it logs to."""
        return self._text.split(b"\n", 1)[0].removeprefix(b"run ").decode()

    @property
    def acknowledged_count(self) -> int:
        """How many calls had returned; a line that the kill cut short does not count."""
        return self._text.count(b"\n") - 1


def run(setting: Setting) -> Result:
    """Kill and audit; each mode takes its share of the kills."""
    from localtrack import Store

    result = Result(NAME, SUMMARY)
    random = Random(setting.seed)
    share = math.ceil(setting.choose(setting.kills, 4) / len(MODES))
    for number, mode in enumerate(MODES):
        root = str(setting.folder / f"store{number}")
        Store.open(root, create=True).close()
        audit = Audit()
        while audit.kills < share:
            _kill_once(root, mode, audit, random)
        _report(result, mode, audit)
    return result


def _kill_once(root: str, mode: Mode, audit: Audit, random: Random) -> None:
    """Start the drivers of a mode, kill them one after another, and look at what is left."""
    from localtrack import Store

    run_id = None
    if mode.same_run:
        with Store.open(root) as store:
            run_id = store.start_run("bench").run_id
            store.flush()  # else the folder is gone before the library has synced it
    drivers: list[Driver] = []
    try:
        for number in range(mode.drivers):
            drivers.append(Driver(root, f"d{number}", run_id, mode))
        _await_first_calls(drivers)
        for number, driver in enumerate(drivers):
            _read_until(drivers[number:], time.monotonic() + random.uniform(0, LONGEST_LIFE_S / mode.drivers))
            driver.kill()
    finally:
        for driver in drivers:
            driver.kill()
    audit.kills += len(drivers)
    with Store.open(root) as store:
        for driver in drivers:
            audit_driver(store, driver.run_id, driver.prefix, driver.acknowledged_count, audit)


def _await_first_calls(drivers: Sequence[Driver]) -> None:
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while not all(driver.has_begun for driver in drivers):
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"a driver logged nothing in {START_TIMEOUT_S:.0f} s")
        _read_until(drivers, time.monotonic() + 0.005)


def _read_until(drivers: Sequence[Driver], deadline_s: float) -> None:
    """Keep the pipes empty, so that no driver waits for its reader instead of logging."""
    while (left_s := deadline_s - time.monotonic()) > 0:
        ready, _, _ = select.select(drivers, [], [], left_s)
        if not all(driver.read() for driver in ready):
            raise RuntimeError("a driver ended by itself; what it said is on the error output")


def _report(result: Result, mode: Mode, audit: Audit) -> None:
    for what, count in (("kills", audit.kills), ("acknowledged points, params and tags", audit.acknowledged)):
        result.series.append(Series("localtrack", f"{mode.name}, {what}", "count", [count]))
    kept = (audit.acknowledged - audit.lost) / audit.acknowledged
    result.comparisons.append(Comparison(f"{mode.name}, kept / acknowledged", "ratio", [kept], ALL))
    counts = {"lost": audit.lost, "doubled": audit.doubled, "wrong": audit.wrong, "findings": len(audit.findings)}
    for what, count in counts.items():
        result.comparisons.append(Comparison(f"{mode.name}, {what}", "count", [count], NONE))
    result.notes += [f"{mode.name}: {finding}" for finding in sorted(audit.findings)[:5]]
