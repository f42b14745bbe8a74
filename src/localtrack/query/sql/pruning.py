"""Which runs a query can be about, where it does not say so with constants.

DuckDB hands down constants only. So `run_id IN (SELECT …)` is answered first, and becomes a list; and of a join with
`runs`, `params` … the runs that fulfil the conditions on that view alone are found first. Neither changes the answer:
a subquery is still answered once, and what a join would drop is not read. Where anything is not quite as expected the
query runs as it is.
"""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from localtrack.query.sql.columns import VIEWS
from localtrack.query.sql.guard import iter_parts

if TYPE_CHECKING:
    import duckdb

STREAMS: Final = frozenset({"metric_history", "artifacts"})
MAX_VALUES: Final = 10_000
"""A longer list takes DuckDB longer than the runs that it would leave out."""

_CHANGING: Final = frozenset({"random", "uuid", "uuidv4", "uuidv7", "gen_random_uuid", "nextval", "currval"})
"""Functions that give something else each time."""

Tree = dict[str, Any]
Bound = dict[str, Any]


class Pruner:
    """Looks through one query that may run.

    Args:
        connection: Has the views.
        query: Its text.
        tree: What the guard made of it.
        bound: Values by the identifiers of the parameters: names, or numbers as texts.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, query: str, tree: Tree, bound: Bound) -> None:
        self._connection = connection
        self._query = query
        self._node: Tree = tree["node"]
        self._bound = bound
        self._uses = Counter(
            str(part["table_name"]).lower() for part in iter_parts(tree) if part.get("type") == "BASE_TABLE"
        )

    @property
    def is_worthwhile(self) -> bool:
        """Whether the query reads a stream, and has conditions or joins that could say of which runs."""
        return self._node.get("type") == "SELECT_NODE" and any(self._uses[name] for name in STREAMS)

    def list_subqueries(self) -> str:
        """Return the query with each `run_id IN (SELECT …)` of its WHERE as a list of what the subquery gives."""
        text = self._query.encode()
        splices: list[tuple[int, int, bytes]] = []
        for part in iter_parts(self._node.get("where_clause")):
            if "query_location_length" not in part:  # DuckDB before 2 does not say where a part ends
                continue
            if _is_in_subquery(part, "run_id") and (listed := self._listed(part)) is not None:
                start = part["query_location"]
                end = start + part["query_location_length"]
                if text[start : start + 1] == b"(" and text[end - 1 : end] == b")":
                    splices.append((start, end, listed))
        for start, end, listed in sorted(splices, reverse=True):
            text = text[:start] + listed + text[end:]
        return text.decode()

    def joined_runs(self) -> list[str] | None:
        """Return the runs that a join with a view leaves room for in the only stream of the query; None for any."""
        leaves = list(_inner_leaves(self._node.get("from_table")))
        streams = [leaf for leaf in leaves if _name(leaf) in STREAMS]
        if len(streams) != 1 or sum(self._uses[name] for name in STREAMS) != 1 or self._shadows(leaves):
            return None
        stream = streams[0]
        wheres = [*_conjuncts(self._node.get("where_clause")), *_join_conditions(self._node.get("from_table"))]
        found: list[str] | None = None
        joined = _joined_by_run(self._node.get("from_table"), wheres, _alias(stream))
        for leaf in leaves:
            if leaf is stream or _alias(leaf) not in joined or "run_id" not in VIEWS.get(_name(leaf), ()):
                continue
            own = [where for where in wheres if self._is_about(where, leaf, leaves)]
            if not own:
                continue
            values = self._ask(_select_run_ids(leaf, own))
            if values is not None and (found is None or len(values) < len(found)):
                found = [value for value in values if value is not None]
        return found

    def _shadows(self, leaves: list[Tree]) -> bool:
        """Tell whether names do not mean what they seem to, or rows are picked by chance before conditions hold.

        WITH may give the name of a view to something else, two tables may go by one name, columns may be renamed.
        """
        if self._node.get("sample") or any(leaf.get("sample") or leaf.get("column_name_alias") for leaf in leaves):
            return True
        named = {str(entry["key"]).lower() for entry in self._node["cte_map"]["map"]}
        aliases = [_alias(leaf) for leaf in leaves]
        return bool(named & VIEWS.keys()) or len(set(aliases)) != len(aliases)

    def _listed(self, part: Tree) -> bytes | None:
        node = copy.deepcopy(part["subquery"]["node"])
        own = {str(entry["key"]).lower() for entry in node["cte_map"]["map"]}
        for entry in self._node["cte_map"]["map"]:
            name = str(entry["key"]).lower()
            if name not in own:
                # Of a part that is used elsewhere too, and is cut off at a limit, the other place may see another cut.
                if self._uses[name] > 1:
                    return None
                node["cte_map"]["map"].append(copy.deepcopy(entry))
        values = self._ask(node)
        if values is None:
            return None
        # No id is empty: nothing is in such a list, as nothing is in an empty one.
        return b"(" + b", ".join(map(_literal, values or [""])) + b")"

    def _ask(self, node: Tree) -> list[str | None] | None:
        """Return the texts that a query of one column gives; None if it has no meaning by itself, or gives too many."""
        import duckdb

        node = copy.deepcopy(node)
        names: set[str] = set()
        for part in iter_parts(node):
            if part.get("class") == "PARAMETER":
                part["identifier"] = f"p{part['identifier']}"
                names.add(part["identifier"])
        document = json.dumps({"error": False, "statements": [{"node": node, "named_param_map": []}]})
        bound = {f"p{name}": value for name, value in self._bound.items() if f"p{name}" in names}
        try:
            ((text,),) = self._connection.execute("SELECT json_deserialize_sql(?)", [document]).fetchall()
            relation = self._connection.sql(str(text), params=bound)
            if [str(kind) for kind in relation.types] != ["VARCHAR"]:
                return None
            values = [value for (value,) in relation.limit(MAX_VALUES + 1).fetchall()]
        except duckdb.Error:
            return None
        is_odd = len(values) > MAX_VALUES or any(value is not None and "\0" in value for value in values)
        return None if is_odd else values

    @staticmethod
    def _is_about(where: Tree, leaf: Tree, leaves: list[Tree]) -> bool:
        """Tell whether a condition is about one table alone, and says the same whenever it is asked."""
        columns: list[list[str]] = []
        for part in iter_parts(where):
            if part.get("class") in ("SUBQUERY", "WINDOW", "LAMBDA", "STAR"):
                return False
            if str(part.get("function_name", "")).lower() in _CHANGING:
                return False
            if part.get("class") == "COLUMN_REF":
                columns.append([str(name).lower() for name in part["column_names"]])
        return bool(columns) and all(_belongs(column, leaf, leaves) for column in columns)


def _belongs(column: list[str], leaf: Tree, leaves: list[Tree]) -> bool:
    if len(column) == 2:
        return column[0] == _alias(leaf) and column[1] in VIEWS[_name(leaf)]
    if len(column) != 1 or any(_name(other) not in VIEWS for other in leaves):
        return False
    return [other for other in leaves if column[0] in VIEWS[_name(other)]] == [leaf]


def _name(leaf: Tree) -> str:
    return str(leaf.get("table_name", "")).lower() if leaf.get("type") == "BASE_TABLE" else ""


def _alias(leaf: Tree) -> str:
    return str(leaf.get("alias") or leaf.get("table_name") or "").lower()


def _inner_leaves(table: Any) -> Iterator[Tree]:
    """Yield the tables of which every row of the result has one: not those that an outer join fills with NULL."""
    if not isinstance(table, dict):
        return
    if table.get("type") != "JOIN":
        yield table
        return
    # Which rows meet in an ASOF or POSITIONAL join depends on rows that a condition drops later.
    if table.get("ref_type") not in ("REGULAR", "CROSS", "NATURAL"):
        return
    if table.get("join_type") in ("INNER", "LEFT", "SEMI"):
        yield from _inner_leaves(table["left"])
    if table.get("join_type") == "INNER":
        yield from _inner_leaves(table["right"])


def _joins(table: Any) -> Iterator[Tree]:
    """Yield the inner joins whose conditions every row of the result fulfils."""
    if isinstance(table, dict) and table.get("type") == "JOIN":
        if table.get("join_type") == "INNER" and table.get("ref_type") in ("REGULAR", "CROSS"):
            yield table
            yield from _joins(table["right"])
        if table.get("join_type") in ("INNER", "LEFT", "SEMI"):
            yield from _joins(table["left"])


def _join_conditions(table: Any) -> list[Tree]:
    return [where for join in _joins(table) for where in _conjuncts(join.get("condition"))]


def _conjuncts(where: Any) -> list[Tree]:
    if not isinstance(where, dict):
        return []
    if where.get("type") == "CONJUNCTION_AND":
        return [part for child in where["children"] for part in _conjuncts(child)]
    return [where]


def _joined_by_run(table: Any, wheres: list[Tree], start: str) -> set[str]:
    """Return the tables that have the same run_id as `start` in every row of the result."""
    pairs: list[tuple[str, str]] = []
    for join in _joins(table):
        if any(str(name).lower() == "run_id" for name in join.get("using_columns", [])):
            left, right = ([_alias(leaf) for leaf in _inner_leaves(join[side])] for side in ("left", "right"))
            if len(left) == len(right) == 1:  # else which of them is meant takes more than names to tell
                pairs.append((left[0], right[0]))
    for where in wheres:
        if where.get("type") == "COMPARE_EQUAL":
            names = [[str(n).lower() for n in where[side].get("column_names", ())] for side in ("left", "right")]
            if all(len(name) == 2 and name[1] == "run_id" for name in names):
                pairs.append((names[0][0], names[1][0]))
    reached = {start}
    for _ in pairs:
        reached |= {name for pair in pairs if reached & set(pair) for name in pair}
    return reached


def _is_in_subquery(part: Tree, column: str) -> bool:
    return (
        part.get("class") == "SUBQUERY"
        and part.get("subquery_type") == "ANY"
        and part.get("comparison_type") == "COMPARE_EQUAL"
        and isinstance(part.get("child"), dict)
        and part["child"].get("class") == "COLUMN_REF"
        and str(part["child"]["column_names"][-1]).lower() == column
    )


def _select_run_ids(leaf: Tree, wheres: list[Tree]) -> Tree:
    """Return `SELECT DISTINCT run_id FROM leaf WHERE …` as a syntax tree."""
    where = wheres[0]
    if len(wheres) > 1:
        where = {"class": "CONJUNCTION", "type": "CONJUNCTION_AND", "alias": "", "children": wheres}
    return {
        "type": "SELECT_NODE",
        "modifiers": [{"type": "DISTINCT_MODIFIER", "distinct_on_targets": []}],
        "cte_map": {"map": []},
        "select_list": [
            {"class": "COLUMN_REF", "type": "COLUMN_REF", "alias": "", "column_names": [_alias(leaf), "run_id"]}
        ],
        "from_table": leaf,
        "where_clause": where,
        "group_expressions": [],
        "group_sets": [],
        "aggregate_handling": "STANDARD_HANDLING",
        "having": None,
        "sample": None,
        "qualify": None,
    }


def _literal(value: str | None) -> bytes:
    return b"NULL" if value is None else b"'" + value.replace("'", "''").encode() + b"'"
