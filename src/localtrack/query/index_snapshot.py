"""A snapshot of a store's runs that the index answers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from localtrack.errors import DamagedIndexError
from localtrack.query.compile import Statement
from localtrack.query.index_direct import can_ask_directly, select_directly
from localtrack.query.relations import RUN_COLUMNS
from localtrack.query.snapshot import select_from
from localtrack.store.index.tables import numbers
from localtrack.store.index.view import IndexView
from localtrack.types import Finding, RunRow

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from localtrack.query.run_values import RunValues
    from localtrack.store.quota_use import RunUse

_COLUMNS_PAY: Final = 8
"""From this part of all runs on, reading whole columns is less work than reading whole rows."""


class IndexSnapshot:
    """See `RunSnapshot`.

    Args:
        view: The runs as the index has them.
        on_damage: Told of a file of the index that is damaged, before the error is raised: who asks again gets an
            answer.
    """

    def __init__(self, view: IndexView, *, on_damage: Callable[[DamagedIndexError], None] | None = None) -> None:
        self.view = view
        self._on_damage = on_damage
        self.findings: Sequence[Finding] = view.findings

    def select(self, statement: Statement) -> list[int]:
        """See `RunSnapshot.select`."""
        with self._damage_told():
            if can_ask_directly(self.view, statement):
                found = select_directly(self.view, statement)
                if found is not None:
                    return found
            tables = self._tables(statement)
        return select_from(statement, tables)

    def _tables(self, statement: Statement) -> dict[str, pa.Table]:
        """Return the relations that a statement reads."""
        import pyarrow as pa

        view = self.view
        columns = {"row": pa.chunked_array([numbers(view.rows_count)]), "stage": view.stage()}
        columns |= {name: view.narrow(name) for name in sorted(statement.columns)}
        columns |= {
            name: view.key_column(field.relation, field.key, field.column) for name, field in statement.fields.items()
        }
        tables = {"runs": pa.table(columns)}
        if statement.has_datasets:
            tables["datasets"] = view.tall_table("datasets", keys=None)
        return tables

    def table(self, relation: str, *, keys: Collection[str] | None = None) -> pa.Table:
        """See `RunSnapshot.table`."""
        with self._damage_told():
            return self.view.tall_table(relation, keys=keys)

    def runs(self, columns: Sequence[str] = RUN_COLUMNS) -> pa.Table:
        """See `RunSnapshot.runs`."""
        with self._damage_told():
            return self.view.runs_table(columns)

    def rows(self, numbers: Sequence[int]) -> list[RunRow]:
        """See `RunSnapshot.rows`."""
        with self._damage_told():
            return [self.view.row(number) for number in numbers]

    def run_ids(self, numbers: Sequence[int]) -> list[str]:
        """Return the ids of the runs of these numbers."""
        with self._damage_told():
            return [self.view.run_id(number) for number in numbers]

    def uses(self, numbers: Sequence[int], measures: Collection[str]) -> list[RunUse]:
        """Return what the runs of these numbers have of some of `run_counts.COUNTED`."""
        from localtrack.store.quota_use import RunUse
        from localtrack.store.run_counts import count_contents

        with self._damage_told():
            view = self.view
            counts = {f"run.{measure}": found for measure, found in count_contents(view, measures).items()}
            columns = [view.narrow(name).to_pylist() for name in ("experiment_id", "run_name", "status", "start_time")]
            values: list[tuple[Any, ...]] = list(zip(*columns, strict=True))
            found: list[RunUse] = []
            for number in numbers:
                experiment_id, name, status, start_ms = values[number]
                of_run = {measure: count[number] for measure, count in counts.items()}
                found.append(RunUse(view.run_id(number), experiment_id, name, status, start_ms, of_run))
            return found

    def to_arrow(self, numbers: Sequence[int]) -> pa.Table:
        """Return the runs of these numbers as `frames.to_arrow` does."""
        from localtrack.query.index_frames import view_to_arrow

        with self._damage_told():
            return view_to_arrow(self.view, numbers)

    def to_pandas(self, numbers: Sequence[int]) -> pd.DataFrame:
        """Return the runs of these numbers, of which there is at least one, as `frames.to_pandas` does."""
        from localtrack.query.index_frames import view_to_pandas

        with self._damage_told():
            return view_to_pandas(self.view, numbers)

    def values(self, numbers: Sequence[int]) -> list[RunValues] | None:
        """Return what is shown of the runs of these numbers in a list; None where reading their rows is less work."""
        from localtrack.query.run_values import have_few_keys, view_to_values

        if not self.prefers_columns(len(numbers)) or not have_few_keys(self.view):
            return None
        with self._damage_told():
            return view_to_values(self.view, numbers)

    def prefers_columns(self, count: int) -> bool:
        """Return whether so many runs become a table sooner by their columns than row by row."""
        return count >= max(1, self.view.rows_count // _COLUMNS_PAY)

    @contextlib.contextmanager
    def _damage_told(self) -> Iterator[None]:
        try:
            yield
        except DamagedIndexError as error:
            if self._on_damage is not None:
                self._on_damage(error)
            raise
