"""The code blocks of README.md, run as a reader would run them, one after the other, in one folder.

```python             runs; a ```text block right after it is what it prints
```python train.py    is written to that file instead
```console            `$ command` lines run in a shell on a terminal; the lines below are what it prints
```                   anything else is for the eye

python -m tests.conformance.readme_blocks --write    runs README.md and puts in what was really printed
"""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).resolve().parents[2]
README: Final = REPOSITORY / "README.md"
_BLOCK: Final = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
_RUN_ID: Final = re.compile(r"(?<!m-)\b01[0-9a-f]{10,30}\b")
_SHORT_ID_CHARS: Final = 12
_TERMINAL_SIZE: Final = (40, 110)
_SECRET_FREE: Final = ("PATH", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
"""What the blocks see of the environment of the test."""

# What differs from run to run and place to place -> what stands in README.md and is compared.
_VARYING: Final = (
    # A model may be made in the millisecond in which its run began, or not: it is told by its name.
    (re.compile(r"\bm-01[0-9a-f]{30}\b"), "<model>"),
    (re.compile(r"\d{4}-\d\d-\d\d(?:[ T]\d\d:\d\d:\d\d)?"), "<time>"),
    (re.compile(r"(?<= )\d+(?:\.\d+)? (?:ms|s|min|h|d)\b(?: \d\d (?:s|min|h)\b)?"), "<duration>"),
    (re.compile(r"\b\d+\.\d (?:Ki|Mi)B\b"), "<size>"),
    (re.compile(r"(localtrack\.(?:host|python|command) +).*"), r"\1<here>"),
    (re.compile(r"\b1\d{12}\b"), "<time>"),
    (re.compile(r"[ \t]+$", re.MULTILINE), ""),
    (re.compile(r"(?<=\S) {2,}"), "  "),
)

_SESSION: Final = """\
import contextlib, io, json, sys, traceback
namespace = {"__name__": "__main__"}
for line in sys.stdin:
    printed = io.StringIO()
    error = ""
    with contextlib.redirect_stdout(printed):
        try:
            exec(compile(json.loads(line), "README.md", "exec"), namespace)
        except Exception:
            error = traceback.format_exc()
    print(json.dumps({"printed": printed.getvalue(), "error": error}), flush=True)
"""


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: where it begins in the text, the words behind its fence, what it holds."""

    start: int
    end: int
    words: tuple[str, ...]
    body: str

    @property
    def kind(self) -> str:
        return self.words[0] if self.words else ""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to run, and what README.md says it prints (None: it does not say)."""

    kind: str
    """`python`, `file` or `command`."""
    code: str
    name: str = ""
    expected: str | None = None
    code_span: tuple[int, int] = (0, 0)
    expected_span: tuple[int, int] = (0, 0)


@dataclass(slots=True)
class Names:
    """Run ids in the order in which they first appear in a text: the same run has the same number in two texts."""

    ids: list[str] = field(default_factory=list)

    def find(self, token: str) -> int | None:
        """Return the number of an id, or of the beginning of one."""
        matches = (n for n, known in enumerate(self.ids) if known.startswith(token) or token.startswith(known))
        return next(matches, None)

    def number(self, token: str) -> int:
        """Return the number of an id, a new one if it was not seen yet."""
        number = self.find(token)
        if number is None:
            self.ids.append(token)
            return len(self.ids) - 1
        self.ids[number] = max(self.ids[number], token, key=len)
        return number

    def normalize(self, text: str) -> str:
        """Return a text without what varies."""
        text = _RUN_ID.sub(lambda match: f"<run {self.number(match[0])}>", text)
        for pattern, shown in _VARYING:
            text = pattern.sub(shown, text)
        return text.strip("\n")


def iter_blocks(text: str) -> Iterator[Block]:
    for match in _BLOCK.finditer(text):
        yield Block(match.start("body"), match.end("body"), tuple(match["info"].split()), match["body"])


def plan_steps(text: str) -> list[Step]:
    """Return what a reader would run, in order."""
    steps: list[Step] = []
    last_end = -1
    for block in iter_blocks(text):
        if block.kind == "python" and len(block.words) > 1:
            steps.append(Step("file", block.body, name=block.words[1]))
        elif block.kind == "python":
            steps.append(Step("python", block.body))
            last_end = block.end
        elif block.kind == "text":
            if not text[last_end : block.start].split() == ["```", "```text"]:
                raise ValueError(f"A text block of README.md follows no python block: {block.body[:60]!r}")
            steps[-1] = replace(steps[-1], expected=block.body, expected_span=(block.start, block.end))
        elif block.kind == "console":
            steps.extend(_plan_commands(block))
    return steps


def _plan_commands(block: Block) -> Iterator[Step]:
    commands = list(re.finditer(r"^\$ (.*)\n", block.body, re.MULTILINE))
    for number, match in enumerate(commands):
        end = commands[number + 1].start() if number + 1 < len(commands) else len(block.body)
        yield Step(
            "command",
            match[1],
            expected=block.body[match.end() : end],
            code_span=(block.start + match.start(1), block.start + match.end(1)),
            expected_span=(block.start + match.end(), block.start + end),
        )


class Reader:
    """Somebody who follows README.md in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "study"
        self.folder.mkdir()
        bin_folder = folder / "bin"
        bin_folder.mkdir()
        for name, arguments in {"python": "", "localtrack": "-m localtrack "}.items():
            program = bin_folder / name
            program.write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments}"$@"\n')
            program.chmod(0o755)
        self.environment = {name: os.environ[name] for name in _SECRET_FREE if name in os.environ} | {
            "PATH": f"{bin_folder}:{os.environ['PATH']}",
            "PYTHONPATH": str(REPOSITORY / "src"),
            "HOME": str(folder),
            "LOGNAME": "ada",
            "LANG": "C.UTF-8",
            "TZ": "UTC",
        }
        self.named, self.real = Names(), Names()
        self._session = subprocess.Popen(
            [sys.executable, "-c", _SESSION],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def close(self) -> None:
        self._session.communicate()

    def with_real_ids(self, code: str, *, most_chars: int | None = None) -> str:
        """Return code with the ids that README.md shows replaced by those of the same runs here.

        `{run 2}` in a README.md that is not written yet is the third run that was printed. Ids are as long as they were
        seen here, or cut: of runs that began in one millisecond the first 12 digits are the same.
        """
        code = re.sub(r"\{run (\d+)\}", lambda match: self.real.ids[int(match[1])][:most_chars], code)
        return _RUN_ID.sub(lambda match: self._real_id(match[0])[:most_chars], code)

    def _real_id(self, token: str) -> str:
        number = self.named.find(token)
        return token if number is None else self.real.ids[number]

    def run(self, step: Step) -> str:
        """Return what a step prints, with paths as README.md shows them.

        Raises:
            AssertionError: Python code raised.
        """
        if step.kind == "file":
            (self.folder / step.name).write_text(step.code)
            return ""
        printed = self._run_command(step.code) if step.kind == "command" else self._run_python(step.code)
        for real, shown in ((str(self.folder), "/home/ada/study"), (str(Path(sys.executable).parent), "/home/ada/bin")):
            printed = printed.replace(real, shown)
        return re.sub(r"(localtrack\.host +).*", r"\1laptop", printed)

    def _run_python(self, code: str) -> str:
        assert self._session.stdin is not None
        assert self._session.stdout is not None
        self._session.stdin.write(json.dumps(self.with_real_ids(code)) + "\n")
        self._session.stdin.flush()
        answer = json.loads(self._session.stdout.readline())
        assert not answer["error"], f"{code}\n{answer['error']}"
        return str(answer["printed"])

    def _run_command(self, command: str) -> str:
        """Run a command as in a terminal: what it prints depends on that, and a kill is told."""
        ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, _TERMINAL_SIZE)
        process = subprocess.Popen(
            ["sh", "-c", self.with_real_ids(command)],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        parts = []
        try:
            while part := os.read(ours, 65536):
                parts.append(part)
        except OSError:
            pass  # so Linux says that the other side of a terminal is closed
        os.close(ours)
        printed = b"".join(parts).decode().replace("\r\n", "\n")
        printed = re.sub(r"[^\n]*\r(\x1b\[K)?", "", printed)  # progress that was shown and wiped away
        # Some shells say so by themselves.
        was_killed = process.wait() in (-signal.SIGKILL, 128 + signal.SIGKILL)
        return printed + "Killed\n" if was_killed and not printed.endswith("Killed\n") else printed


def run_text(text: str, folder: Path) -> Iterator[tuple[Step, str, str]]:
    """Run the steps of a text; yield each that says what it prints, with what that is and what was printed.

    Both without what varies.
    """
    reader = Reader(folder)
    try:
        for step in plan_steps(text):
            printed = reader.run(step)
            shown, seen = reader.named.normalize(step.expected or ""), reader.real.normalize(printed)
            if step.expected is not None:
                yield step, shown, seen
    finally:
        reader.close()


def write_readme(folder: Path) -> None:
    """Run README.md and put what was printed, and the ids that it was about, in place of what stands there."""
    text = README.read_text()
    reader = Reader(folder)
    changes: list[tuple[tuple[int, int], str]] = []
    for step in plan_steps(text):
        code = reader.with_real_ids(step.code, most_chars=_SHORT_ID_CHARS)
        printed = reader.run(step)
        reader.named.normalize(step.expected or "")
        reader.real.normalize(printed)
        if step.kind == "command":
            changes.append((step.code_span, code))
        if step.expected is not None:
            changes.append((step.expected_span, printed.strip("\n") + "\n" if printed.strip() else ""))
    reader.close()
    for (start, end), new in reversed(changes):
        text = text[:start] + new + text[end:]
    README.write_text(text)


if __name__ == "__main__":
    import tempfile

    if sys.argv[1:] != ["--write"]:
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory() as place:
        write_readme(Path(place))
