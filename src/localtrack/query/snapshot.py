"""The runs of a store at one moment, as relations: what a search, an SQL view or a comparison asks of a store.

Row numbers name runs within one snapshot, and mean nothing in another one. A snapshot never changes; it may be used
from any thread.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from localtrack.query.compile import Statement
from localtrack.query.connection import cursor
from localtrack.query.relations import RUN_COLUMNS, runs_relation, tall_relation, wide_relation
from localtrack.types import Finding, RunRow

if TYPE_CHECKING:
    import pyarrow as pa


class RunSnapshot(Protocol):
    """All runs of a store, or of some of its experiments, deleted ones included."""

    findings: Sequence[Finding]
    """What was damaged, and so is missing or incomplete."""

    def select(self, statement: Statement) -> list[int]:
        """Return the numbers of the runs that a compiled search chooses, in its order."""
        ...

    def table(self, relation: str, *, keys: Collection[str] | None = None) -> pa.Table:
        """Return a tall relation as `query.relations` describes it: `metrics`, `params`, `tags` or `datasets`.

        Args:
            relation: Which one.
            keys: Only these keys; None for all. Naming them is what keeps a large store fast.
        """
        ...

    def runs(self, columns: Sequence[str] = RUN_COLUMNS) -> pa.Table:
        """Return the relation `runs` as `query.relations` describes it: `row`, and these of its other columns."""
        ...

    def rows(self, numbers: Sequence[int]) -> list[RunRow]:
        """Return the whole runs of these numbers, in this order."""
        ...


class RowSnapshot:
    """A snapshot of rows that are in memory already.

    Args:
        rows: The runs.
        experiment_names: Name by experiment id.
        findings: What was damaged.
    """

    def __init__(
        self, rows: Iterable[RunRow], *, experiment_names: Mapping[str, str], findings: Iterable[Finding] = ()
    ) -> None:
        self._rows = list(rows)
        self._experiment_names = experiment_names
        self.findings: Sequence[Finding] = tuple(findings)

    def select(self, statement: Statement) -> list[int]:
        """See `RunSnapshot.select`."""
        tables = {"runs": wide_relation(self.runs(), self._rows, statement.fields)}
        if statement.has_datasets:
            tables["datasets"] = self.table("datasets")
        return select_from(statement, tables)

    def table(self, relation: str, *, keys: Collection[str] | None = None) -> pa.Table:
        """See `RunSnapshot.table`."""
        return tall_relation(relation, self._rows, keys=keys)

    def runs(self, columns: Sequence[str] = RUN_COLUMNS) -> pa.Table:
        """See `RunSnapshot.runs`."""
        return runs_relation(self._rows, experiment_names=self._experiment_names).select(["row", *columns])

    def rows(self, numbers: Sequence[int]) -> list[RunRow]:
        """See `RunSnapshot.rows`."""
        return [self._rows[number] for number in numbers]


def select_from(statement: Statement, tables: Mapping[str, pa.Table]) -> list[int]:
    """Run a compiled search over tables, by the names of the relations that it reads, and return the row numbers."""
    with cursor() as connection:
        for name, table in tables.items():
            connection.register(name, table)
        found = connection.execute(statement.sql, dict(statement.parameters)).fetchall()
    return [number for (number,) in found]
