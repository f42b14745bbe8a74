"""The command line as a process of its own: pipes, terminals, encodings, and what it loads."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
from fcntl import F_SETPIPE_SZ, fcntl, ioctl
from pathlib import Path
from termios import TIOCSWINSZ

import pytest
from tests.unit.cli.conftest import NASTY_NAME, Place

from localtrack.api.store import Store
from localtrack.errors import StorageError

COMMAND = [sys.executable, "-m", "localtrack"]
# The cost of a start: none of these for a page of help, each 10 to 300 ms.
NOT_FOR_HELP = {"duckdb", "pyarrow", "pandas", "numpy", "orjson", "fsspec", "filelock", "sqlglot", "json", "asyncio"}


def run(*arguments: object, **settings: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # type: ignore[call-overload,no-any-return]  # settings are those of subprocess.run
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False, **settings
    )


def test_the_module_is_the_command(first_place: Place) -> None:
    done = run("runs", "--store", first_place.path, "--json", "run_name = 'good'")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["run_id"] == first_place.ids.good
    assert run("--help").stdout.startswith("Usage: localtrack [OPTIONS] COMMAND")


def test_an_error_ends_the_process_with_its_code(first_place: Place) -> None:
    done = run("show", "ffff", "--store", first_place.path)
    assert done.returncode == 3
    assert done.stdout == ""
    assert done.stderr.startswith("Error: There is no run")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", [["--help"], ["runs", "--help"], ["help", "exit-codes"], ["--version"]])
def test_help_loads_little(arguments: list[str]) -> None:
    script = (
        "import sys, contextlib, io\n"
        "from localtrack.cli import main\n"
        f"sys.argv = ['localtrack', *{arguments!r}]\n"
        "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):\n"
        "    before = set(sys.modules)\n"
        "    main()\n"
        "print(*sorted(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "click" in loaded
    assert loaded & NOT_FOR_HELP == set()


@pytest.mark.parametrize("arguments", [["history", "RUN"], ["history", "RUN", "--json"], ["runs", "--json"]])
def test_a_reader_that_stops_is_no_error(place: Place, arguments: list[str]) -> None:
    with place.open() as store, store.start_run(context=False, tags={"long": "x" * 8_000}) as writer:
        for step in range(20_000):
            writer.log_metric("x", 0.5, step=step)
        for _ in range(20):
            store.start_run(context=False, tags={"long": "x" * 8_000}).end()
    reader, end = os.pipe()
    # Small enough that the process cannot leave all of its answer in the pipe.
    fcntl(reader, F_SETPIPE_SZ, 4_096)
    command = [*COMMAND, *(writer.run_id if a == "RUN" else a for a in arguments), "--store", str(place.path)]
    # Python without buffers takes half a write for a whole one, and never learns that the reader has gone.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    process = subprocess.Popen(command, stdout=end, stderr=subprocess.PIPE, env=environment)
    os.close(end)
    assert os.read(reader, 1)
    os.close(reader)
    _, stderr = process.communicate()
    assert (process.returncode, stderr) == (141, b"")


@pytest.mark.parametrize("arguments", [["runs"], ["runs", "--json"], ["check"], ["sql", "SELECT 1"]])
def test_without_stdout_there_is_no_answer_and_no_error(first_place: Place, arguments: list[str]) -> None:
    command = ["sh", "-c", 'exec "$@" >&-', "sh", *COMMAND, *arguments, "--store", str(first_place.path)]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    assert "bug" not in done.stderr
    assert done.returncode in (0, 10), "10: the check of a store with damage"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
@pytest.mark.parametrize("arguments", [["runs"], ["runs", "--json"], ["sql", "SELECT 1", "-f", "csv"]])
def test_a_full_disk_of_the_output_is_told_in_one_sentence(first_place: Place, arguments: list[str]) -> None:
    with open("/dev/full", "wb") as full:
        command = [*COMMAND, *arguments, "--store", str(first_place.path)]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == StorageError.exit_code
    assert done.stderr == "Error: The answer cannot be written: No space left on device.\n"


INTERRUPTED: dict[str, tuple[str, int, str]] = {
    "while the commands are loaded": (
        "class Interrupting:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'localtrack.cli.commands.gc':\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupting())\n",
        -signal.SIGINT,
        "",
    ),
    "while a command runs": (
        "import localtrack.api.store as module\n"
        "def interrupt(*_arguments, **_options):\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    time.sleep(60)\n"
        "module.Store.open = interrupt\n",
        130,
        "Error: Interrupted.\n",
    ),
    "at the end of the process": (
        "import atexit\natexit.register(lambda: os.kill(os.getpid(), signal.SIGINT))\n",
        -signal.SIGINT,
        "",
    ),
}
"""What interrupts, then exit code (that of a process that the signal ended: 130 in a shell) and what is said."""


@pytest.mark.parametrize("when", INTERRUPTED)
def test_ctrl_c_leaves_no_traceback(first_place: Place, when: str) -> None:
    hook, exit_code, said = INTERRUPTED[when]
    script = (
        "import os, signal, sys, time\n"
        "from localtrack.__main__ import main\n"
        f"sys.argv = ['localtrack', 'experiments', '--store', {str(first_place.path)!r}]\n"
        f"{hook}"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (exit_code, said)


def test_any_name_can_be_printed_in_any_encoding(first_place: Place) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = run("runs", "--store", first_place.path, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert r"red\x1b[31m\nname \u6f22\u5b57" in done.stdout
    done = run("runs", "--json", "--store", first_place.path, env=environment)
    assert NASTY_NAME in {json.loads(line)["run_name"] for line in done.stdout.splitlines()}


def in_terminal(arguments: list[str], *, columns: int) -> str:
    leader, follower = pty.openpty()
    ioctl(follower, TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    process = subprocess.Popen([*COMMAND, *arguments], stdout=follower, stderr=follower, env=environment)
    os.close(follower)
    output = b""
    while select.select([leader], [], [], 120)[0]:
        try:
            block = os.read(leader, 65_536)
        except OSError:  # Linux says so when the last process has let go of the terminal
            break
        if not block:
            break
        output += block
    os.close(leader)
    assert process.wait() == 0, output
    return output.decode().replace("\r\n", "\n")


def test_a_table_fits_the_terminal_and_is_whole_in_a_pipe(first_place: Place) -> None:
    arguments = ["runs", "--store", str(first_place.path), "run_name != 'dies'"]
    ids = (first_place.ids.good, first_place.ids.better, first_place.ids.nasty)
    narrow = in_terminal(arguments, columns=76).splitlines()
    assert all(len(line) <= 76 for line in narrow)
    assert not any(run_id in line for run_id in ids for line in narrow)
    assert any(line.startswith(first_place.ids.good[:12]) for line in narrow)
    wide = in_terminal(arguments, columns=200).splitlines()
    assert "loss" in wide[0]
    assert "loss" not in narrow[0]
    assert "\x1b" not in "".join(narrow + wide)
    piped = run(*arguments).stdout
    assert all(run_id in piped for run_id in ids)


def test_a_merge_shows_how_far_it_is_in_a_terminal_only(first_place: Place, tmp_path: Path) -> None:
    Store.open(tmp_path / "new").close()
    shown = in_terminal(["merge", str(tmp_path / "new"), str(first_place.path)], columns=200)
    assert f"\rMerging {first_place.path}: 100 %\r\x1b[K" in shown
    assert shown.endswith(" copied\n")
    assert run("merge", tmp_path / "new", first_place.path).stderr == ""
