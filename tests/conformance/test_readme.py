"""README.md is true: its code runs, prints what it shows, and names what there is."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from tests.conformance.readme_blocks import README, REPOSITORY, Names, iter_blocks, plan_steps, run_text

from localtrack.api.environment import VARIABLES
from localtrack.cli import app

MAX_PICTURE_BYTES = 100_000


@pytest.fixture(scope="module")
def text() -> str:
    return README.read_text()


def test_code_prints_what_is_shown(text: str, tmp_path: Path) -> None:
    different = [
        f"{step.code}\n--- README.md\n{shown}\n--- printed\n{seen}"
        for step, shown, seen in run_text(text, tmp_path)
        if shown != seen
    ]

    assert not different, "\n\n".join(["Put right by `python -m tests.conformance.readme_blocks --write`:", *different])


def test_every_kind_of_code_is_in_it(text: str) -> None:
    steps = plan_steps(text)

    assert {step.kind for step in steps} == {"file", "command", "python"}
    assert all(step.expected for step in steps if step.kind == "python" and "print(" in step.code)
    assert {block.kind for block in iter_blocks(text)} <= {"python", "console", "text", ""}


def test_commands_exist(text: str) -> None:
    named = set(re.findall(r"`localtrack ([a-z]+)", text)) | set(re.findall(r"^\$ localtrack ([a-z]+)", text, re.M))

    assert {"runs", "show", "merge", "end", "help", "env"} <= named
    assert named <= app.commands.keys()


def test_table_of_variables_is_complete(text: str) -> None:
    rows = re.findall(r"^\| `(LOCALTRACK_\w+)` \| (?:`(\w+)`)? \| (.*) \|$", text, re.M)

    assert rows == [tuple(variable) for variable in VARIABLES]


def test_extras_exist(text: str) -> None:
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    sentence = text.partition("Further extras:")[2].partition("\n\n")[0].replace("`import localtrack`", "")

    named = set(re.findall(r"`([a-z]\w*)`", sentence)) | set(re.findall(r"'\.\[(\w+)\]'", text))

    assert len(named) >= 5
    assert named <= extras.keys()


def test_links_lead_somewhere(text: str) -> None:
    links = re.findall(r"\]\(([^)]+)\)", text)

    assert links
    for link in links:
        assert (REPOSITORY / link).is_file(), link
        if link.endswith(".png"):
            assert (REPOSITORY / link).stat().st_size < MAX_PICTURE_BYTES


@pytest.mark.parametrize(
    ("shown", "is_true"),
    [
        ("<1> a\n<2> b\n<1> a", True),
        ("<2> a\n<1> b\n<2> a", True),
        ("<1> a\n<2> b\n<2> a", False),
        ("<1> a\n<1> b\n<1> a", False),
        ("<1> a\n<2> b", False),
        ("<1> a\n<2> c\n<1> a", False),
    ],
)
def test_ids_differ_but_stay_apart(shown: str, is_true: bool) -> None:
    ids = {"<1>": "01a207bd25b7757e92ebe639d44060ca", "<2>": "01a207bd25d9"}
    printed = "<1> a\n<2> b\n<1> a"
    for token, run_id in ids.items():
        shown = shown.replace(token, run_id)
        printed = printed.replace(token, run_id.replace("01a2", "01b3"))

    assert (Names().normalize(shown) == Names().normalize(printed)) is is_true


def test_untrue_text_is_found_out(tmp_path: Path) -> None:
    text = """\
```python
x = 1 / 4
print(x)
```

```text
0.5
```

```console
$ python -c 'print(2)'
2
$ python -c 'print(3)'
```
"""

    found = [(shown, seen) for _, shown, seen in run_text(text, tmp_path)]

    assert found == [("0.5", "0.25"), ("2", "2"), ("", "3")]


def test_code_that_raises_is_found_out(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        list(run_text("```python\n1 / 0\n```\n", tmp_path))
