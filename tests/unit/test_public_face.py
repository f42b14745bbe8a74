"""What users meet first: the names, the cost of the import, the errors; and that the source keeps its own rules."""

from __future__ import annotations

import ast
import inspect
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest

import localtrack
from localtrack import errors
from localtrack.errors import ErrorCode, LocaltrackError

SOURCE = Path(errors.__file__).parent
MODULES = sorted(SOURCE.rglob("*.py"))

# What each of these costs at start is 8 to 300 ms; together they would be most of a short job's time.
LOADED_LATER = {
    *("click", "duckdb", "filelock", "fsspec", "mlflow", "numpy", "orjson", "pandas", "polars", "pyarrow", "sqlglot"),
    *("aiohttp", "asyncio", "http.client", "httpx", "matplotlib", "PIL", "requests", "urllib.request", "urllib3"),
    *("email", "importlib.metadata", "multiprocessing", "sqlite3", "ssl", "subprocess", "unittest"),
}

# Codes of layers that later issues bring: unused until the package is there, and from then on no exception.
RAISED_BY = {
    ErrorCode.QUOTA_EXCEEDED: "quota",
}
# All others are held to their use once the outermost layer of the first issue is there.
OUTERMOST = "cli"


def subclasses(kind: type[LocaltrackError]) -> list[type[LocaltrackError]]:
    direct = [child for child in kind.__subclasses__() if child.__module__ == errors.__name__]
    return [kind, *(grandchild for child in direct for grandchild in subclasses(child))]


ALL_ERRORS = subclasses(LocaltrackError)


def test_public_names_are_sorted_once_each_and_there() -> None:
    names = list(localtrack.__all__)
    # Constants, then classes, then functions: the order that ruff keeps in a literal, whatever builds this one.
    assert names == sorted(names, key=lambda name: (not name.isupper(), not name[0].isupper(), name))
    assert len(names) == len(set(names))
    assert [name for name in names if not hasattr(localtrack, name)] == []
    assert set(names) <= set(dir(localtrack))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = localtrack.no_such_name  # type: ignore[attr-defined]


def modules_after(statement: str) -> set[str]:
    # Isolated mode would hide an install through a .pth file; what those load is taken off instead.
    script = f"import sys; before = set(sys.modules); {statement}; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_import_loads_the_standard_library_alone() -> None:
    loaded = modules_after("import localtrack")
    assert "localtrack" in loaded
    assert {name.partition(".")[0] for name in loaded} - {"localtrack"} <= set(sys.stdlib_module_names)


def test_import_loads_nothing_expensive() -> None:
    assert modules_after("import localtrack") & LOADED_LATER == set()


def test_the_check_of_imports_sees_a_dependency() -> None:
    assert "orjson" in modules_after("import localtrack, orjson") & LOADED_LATER


def test_import_prints_nothing_and_leaves_no_file(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", "import localtrack"], capture_output=True, cwd=tmp_path, check=True)
    assert (done.stdout, done.stderr) == (b"", b"")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_source_leaves_nothing_undone(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert re.findall(r"\b(?:TODO|FIXME|XXX|HACK)\b", text) == []
    tree = ast.parse(text)
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert "NotImplementedError" not in names
    assert ast.get_docstring(tree), "a module says what it is for"
    assert len(text.splitlines()) <= 500, "something wants out"


def used_attributes_of(name: str) -> set[str]:
    """Return what is taken from `name` anywhere in src, except in the module of the errors itself."""
    used: set[str] = set()
    for path in MODULES:
        if path == Path(errors.__file__):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value).rpartition(".")[2] == name:
                used.add(node.attr)
    return used


def names_in_source() -> set[str]:
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in MODULES if path != Path(errors.__file__)]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    return {n.id for n in nodes if isinstance(n, ast.Name)} | {n.attr for n in nodes if isinstance(n, ast.Attribute)}


def is_there(package: str) -> bool:
    return (SOURCE / package / "__init__.py").exists()


def test_every_error_code_is_used() -> None:
    names = names_in_source()
    used = {ErrorCode[name] for name in used_attributes_of("ErrorCode")}
    used |= {kind.default_code for kind in ALL_ERRORS if kind.__name__ in names}
    due = {code for code in ErrorCode if is_there(RAISED_BY.get(code, OUTERMOST))}
    assert sorted(due - used) == []


def test_error_codes_are_their_own_lower_case_names() -> None:
    assert [code for code in ErrorCode if code.value != code.name.lower()] == []


@pytest.mark.parametrize("kind", ALL_ERRORS)
def test_errors_survive_pickling(kind: type[LocaltrackError]) -> None:
    error = kind("The run abc is not here.", code=ErrorCode.DAMAGED, hint="Look elsewhere.")
    error.__cause__ = OSError(28, "no space")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert (copy.message, copy.code, copy.hint) == (error.message, error.code, error.hint)
    assert str(copy) == str(error) == "The run abc is not here. Look elsewhere."


@pytest.mark.parametrize("kind", ALL_ERRORS)
def test_errors_without_a_code_have_that_of_their_kind(kind: type[LocaltrackError]) -> None:
    error = kind("It went wrong.")
    assert error.code is kind.default_code
    assert str(error) == "It went wrong."


def test_exit_codes_tell_errors_apart() -> None:
    codes = [kind.exit_code for kind in ALL_ERRORS]
    assert len(codes) == len(set(codes))
    assert 0 not in codes


def drawn_tree() -> set[tuple[str, str, str]]:
    """Return (class, parent, builtin) for each line of the tree in the docstring of the errors."""
    found: set[tuple[str, str, str]] = set()
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.fullmatch(r" {4}([│├└─ ]*)(\w+Error)\b(?: +also (\w+))?.*", line)
        if match:
            depth = len(match[1]) // 4
            path[depth:] = [match[2]]
            found.add((match[2], path[depth - 1] if depth else "", match[3] or ""))
    return found


def real_tree() -> set[tuple[str, str, str]]:
    found: set[tuple[str, str, str]] = set()
    for kind in ALL_ERRORS:
        ours = [base.__name__ for base in kind.__bases__ if issubclass(base, LocaltrackError)]
        also = [b.__name__ for b in kind.__bases__ if not issubclass(b, LocaltrackError) and b is not Exception]
        found.add((kind.__name__, "".join(ours), "".join(also)))
    return found


def test_the_tree_drawn_in_the_docstring_is_the_real_one() -> None:
    assert drawn_tree() == real_tree()


def test_every_error_of_the_package_stands_in_the_one_tree() -> None:
    declared = {name for name, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, Exception)}
    assert declared == {kind.__name__ for kind in ALL_ERRORS}
    elsewhere = [
        f"{path.relative_to(SOURCE)}: {node.name}"
        for path in MODULES
        if path != Path(errors.__file__)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
        and any(ast.unparse(base).endswith(("Error", "Exception")) for base in node.bases)
    ]
    assert elsewhere == []
