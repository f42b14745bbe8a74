"""What a query must be before it runs: one SELECT over the views, as DuckDB's own parser reads it.

Everything is allowed by name: table-like things, and table functions. Of the scalar functions, which reach nothing
outside, those are refused that tell of the host or the database, or wait. The settings of the database are the second
wall: without file access, extensions and unlocked settings nothing named here would work either.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from localtrack.errors import ErrorCode, InvalidInputError
from localtrack.query.sql.columns import VIEWS

if TYPE_CHECKING:
    import duckdb

MAX_QUERY_CHARS: Final = 1_000_000

_UNREADABLE: Final = re.compile("[\0\ud800-\udfff]")

_TABLE_FUNCTIONS: Final = frozenset({"generate_series", "range", "unnest", "repeat"})
_NODE_TYPES: Final = frozenset(
    {
        *("SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE", "VALUES_NODE"),
        *("EMPTY", "EMPTY_FROM", "BASE_TABLE", "SUBQUERY", "JOIN", "TABLE_FUNCTION", "EXPRESSION_LIST", "PIVOT"),
        *("SHOW_REF", "CTE"),
        *("ORDER_MODIFIER", "LIMIT_MODIFIER", "LIMIT_PERCENT_MODIFIER", "DISTINCT_MODIFIER"),
        *("ORDER_DEFAULT", "DEFAULT", "ASCENDING", "DESCENDING"),
    }
)
"""Parts of a syntax tree that are no expressions."""
_FUNCTIONS: Final = frozenset(
    {
        *("getenv", "current_setting", "set_config", "getvariable", "version", "current_query", "current_query_id"),
        *("current_connection_id", "current_transaction_id", "txid_current", "write_log", "parse_duckdb_log_message"),
        *("sleep_ms", "nextval", "currval", "setval", "setseed", "in_search_path", "user", "current_user"),
        *("session_user", "current_role", "current_database", "current_catalog", "current_schema", "current_schemas"),
        *("get_block_size", "col_description", "obj_description", "shobj_description", "invoke", "which_secret"),
    }
)
_FUNCTION_PREFIXES: Final = ("pg_", "has_", "inet_", "__", "duckdb_", "pragma_", "read_", "parquet_", "sniff_")
_HINT: Final = "`localtrack help sql` lists the views and what a query may do."


def parse_query(connection: duckdb.DuckDBPyConnection, query: str) -> dict[str, Any]:
    """Return the syntax tree of a query that may run.

    Args:
        connection: Of a database without access to anything; only its parser is used.
        query: The text.

    Raises:
        InvalidInputError: It is not one SELECT, or names something other than the views.
    """
    import duckdb

    if not isinstance(query, str):
        raise _refusal(f"A query is a text, not {type(query).__name__}.")
    if len(query) > MAX_QUERY_CHARS:
        raise _refusal(f"The query has {len(query)} characters; at most {MAX_QUERY_CHARS} are read.")
    if _UNREADABLE.search(query):
        raise _refusal("The query holds a NUL character, or half a character, which UTF-8 cannot write.")
    try:
        statements = connection.extract_statements(query)
        if len(statements) != 1:
            raise _refusal(f"A query is one SELECT; these are {len(statements)} statements.")
        kind = statements[0].type
        if kind != duckdb.StatementType.SELECT:
            name = "a statement that changes types or PIVOT" if kind.name == "MULTI" else kind.name
            raise _refusal(f"A query is a SELECT, not {name}: the store is only read.")
        answer = connection.execute("SELECT json_serialize_sql(?)", [query]).fetchone()
        assert answer is not None
        document = json.loads(answer[0])
    except (duckdb.Error, UnicodeError) as error:
        raise query_error(error) from error
    except RecursionError as error:
        raise _refusal("The query is nested too deeply.") from error
    if document.get("error") or len(document["statements"]) != 1:
        raise _refusal(f"The query cannot be read: {document.get('error_message', 'it is no SELECT')}.")
    tree: dict[str, Any] = document["statements"][0]
    _check(tree, internal=_internal_names(connection))
    return tree


def views_of(tree: dict[str, Any]) -> list[str]:
    """Return the views that a query names."""
    named = {str(part["table_name"]).lower() for part in iter_parts(tree) if part.get("type") == "BASE_TABLE"}
    return [name for name in VIEWS if name in named]


def words_of(tree: dict[str, Any]) -> list[str]:
    """Return the texts in quotes that a query holds."""
    literals = [part["literal"] for part in iter_parts(tree) if isinstance(part.get("literal"), dict)]
    return [str(literal.get("text")) for literal in literals if literal.get("kind") == "STRING"]


def iter_parts(tree: Any) -> Iterator[dict[str, Any]]:
    """Yield every object of a syntax tree, outer ones first."""
    waiting = [tree]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            yield part
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part


def cte_names(tree: dict[str, Any]) -> set[str]:
    """Return the names that WITH gives, in lower case."""
    found: set[str] = set()
    for part in iter_parts(tree):
        entries = part["cte_map"].get("map", []) if isinstance(part.get("cte_map"), dict) else []
        found.update(str(entry["key"]).lower() for entry in entries)
        if isinstance(part.get("cte_name"), str):
            found.add(part["cte_name"].lower())
    return found


def query_error(error: Exception) -> InvalidInputError:
    """Return what DuckDB, or a text without a meaning, says of a query, as our error."""
    if isinstance(error, UnicodeDecodeError):  # DuckDB quotes data in its message, cut in the middle of a character
        text = error.object.decode(errors="replace").strip()
    else:
        text = str(error).strip()
    kind, _, rest = text.partition(": ")
    message = (rest if kind.endswith("Error") and rest else text).replace("\n\n", "\n")
    return InvalidInputError(f"The query failed: {message}", code=ErrorCode.INVALID_SQL)


def _check(tree: dict[str, Any], *, internal: frozenset[str]) -> None:
    ours = cte_names(tree)
    if hidden := sorted(ours & internal):
        raise _refusal(f"WITH cannot use the name {hidden[0]!r}: the database has a table of that name.")
    for part in iter_parts(tree):
        kind = part.get("type")
        if not isinstance(kind, str):
            continue
        if "class" not in part:
            _check_node(part, kind, ours)
        if "function_name" in part:
            _check_function(part)


def _check_node(part: dict[str, Any], kind: str, ours: set[str]) -> None:
    if kind not in _NODE_TYPES:
        raise _refusal(f"{kind} is not part of what a query may hold.")
    if kind == "BASE_TABLE":
        _check_table(part, ours)
    elif kind == "TABLE_FUNCTION":
        name = str(part["function"].get("function_name", "")).lower()
        if name not in _TABLE_FUNCTIONS:
            raise _refusal(f"{name}() is not available: a query reads the views of the store, and nothing else.")
    elif kind == "SHOW_REF" and not part.get("query"):
        raise _refusal("SHOW is not available.")


def _check_table(part: dict[str, Any], ours: set[str]) -> None:
    path = [str(name) for name in (part.get("qualified_name") or {}).get("path") or [part["table_name"]]]
    shown = ".".join(path)
    if part.get("catalog_name") or part.get("schema_name") or len(path) != 1:
        raise _refusal(f"There is no {shown!r}: views have no schema or database before their name.")
    if part.get("at_clause"):
        raise _refusal("AT is not available: views show the store as it is.")
    if path[0].lower() not in VIEWS and path[0].lower() not in ours:
        raise _refusal(f"There is no view {path[0]!r}; there are {', '.join(VIEWS)}.")


def _check_function(part: dict[str, Any]) -> None:
    name = str(part["function_name"]).lower()
    if name in _FUNCTIONS or name.startswith(_FUNCTION_PREFIXES):
        raise _refusal(f"The function {name}() is not available.")


def _internal_names(connection: duckdb.DuckDBPyConnection) -> frozenset[str]:
    rows = connection.execute("SELECT view_name FROM duckdb_views() WHERE internal").fetchall()
    return frozenset(str(name).lower() for (name,) in rows)


def _refusal(message: str) -> InvalidInputError:
    return InvalidInputError(message, code=ErrorCode.INVALID_SQL, hint=_HINT)
