"""The public names: three lists that agree, and an import that loads nothing but itself."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import localtrack
from localtrack import entities, exceptions, types
from localtrack.errors import LocaltrackError
from localtrack.version import VERSION

TREE = ast.parse(Path(localtrack.__file__).read_text(encoding="utf-8"))


def imported_for_type_checkers() -> dict[str, str]:
    """Name -> module, as type checkers see it."""
    (block,) = [node for node in TREE.body if isinstance(node, ast.If)]
    return {
        alias.asname or alias.name: str(node.module)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def test_type_checkers_see_what_is_there() -> None:
    seen = imported_for_type_checkers()
    assert sorted(set(seen) - {"__version__"}) == sorted(localtrack.__all__)
    homes = {name: f"localtrack.{home}" for home, names in localtrack._HOMES.items() for name in names.split()}
    assert {name: home for name, home in seen.items() if name in homes} == homes
    assert {home for name, home in seen.items() if name not in homes} == {"localtrack", "localtrack.version"}


@pytest.mark.parametrize("name", localtrack.__all__)
def test_a_name_is_that_of_its_module(name: str) -> None:
    home = imported_for_type_checkers()[name]
    thing = getattr(localtrack, name)
    assert thing is (import_module(f"{home}.{name}") if home == "localtrack" else getattr(import_module(home), name))
    assert thing.__doc__


def test_import_loads_nothing_else() -> None:
    script = "import sys; before = set(sys.modules); import localtrack; print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["localtrack"]


def test_names_are_found_once() -> None:
    script = "import localtrack; localtrack.start_run; print('start_run' in vars(localtrack))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True"]


def test_an_unknown_name_suggests_a_known_one() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'log_metrc'") as caught:
        _ = localtrack.log_metrc  # type: ignore[attr-defined]
    assert (caught.value.name, caught.value.obj) == ("log_metrc", localtrack)


def test_the_version() -> None:
    assert localtrack.__version__ == VERSION
    assert "__version__" in dir(localtrack)


def test_mlflow_module_names() -> None:
    assert exceptions.MlflowException is LocaltrackError
    assert localtrack.MlflowException is LocaltrackError
    assert [name for name in entities.__all__ if getattr(entities, name) is not getattr(types, name)] == []
    assert entities.__all__ == sorted(entities.__all__)
