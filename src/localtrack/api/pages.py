"""Pages of search results."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, SupportsIndex, TypeVar, overload

from localtrack.errors import DamagedIndexError
from localtrack.types import Experiment, Finding, LoggedModel, RunRow

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

    from localtrack.query.index_snapshot import IndexSnapshot
    from localtrack.query.run_values import RunValues
    from localtrack.store.quota_use import RunUse

T = TypeVar("T")


class ExperimentPage(list[Experiment]):
    """Experiments that match a search, in order."""

    def __init__(self, experiments: Iterable[Experiment] = (), *, token: str | None = None) -> None:
        super().__init__(experiments)
        self.token = token
        """Give it to the next search as `page_token`; None on the last page."""

    def to_arrow(self) -> pa.Table:
        """Return the experiments as an Arrow table.

        Experiment_id, name, artifact_location, lifecycle_stage, creation_time, last_update_time, `tags.*`.
        """
        from localtrack.query.frames import experiments_to_arrow

        return experiments_to_arrow(self)

    def to_pandas(self) -> pd.DataFrame:
        """Return the experiments as a pandas frame with the columns of `to_arrow`."""
        from localtrack.query.frame import table_to_pandas

        return table_to_pandas(self.to_arrow())

    def to_polars(self) -> pl.DataFrame:
        """Return the experiments as a Polars frame with the columns of `to_arrow`."""
        from localtrack.query.frame import table_to_polars

        return table_to_polars(self.to_arrow())


class LoggedModelPage(list[LoggedModel]):
    """Logged models that match a search, in order."""

    def __init__(
        self, models: Iterable[LoggedModel] = (), *, token: str | None = None, findings: Iterable[Finding] = ()
    ) -> None:
        super().__init__(models)
        self.token = token
        """Give it to the next search as `page_token`; None on the last page."""
        self.findings = list(findings)
        """What was damaged, and so is missing or incomplete in the answer."""

    def to_pandas(self) -> pd.DataFrame:
        """Return the models as the data frame that `mlflow.search_logged_models` gives."""
        from localtrack.query.frames import models_to_pandas

        return models_to_pandas(self)

    def to_arrow(self) -> pa.Table:
        """Return the models as an Arrow table: a column for each field, then `metrics.*`, `params.*`, `tags.*`."""
        from localtrack.query.frames import models_to_arrow

        return models_to_arrow(self)

    def to_polars(self) -> pl.DataFrame:
        """Return the models as a Polars frame with the columns of `to_arrow`."""
        from localtrack.query.frame import table_to_polars

        return table_to_polars(self.to_arrow())


class RunPage(Sequence[RunRow]):
    """Runs that match a search, in order. Compares equal to a list of the same runs.

    Args:
        rows: The runs.
        token: Of the next page.
        findings: What was damaged.
        snapshot: Instead of rows: where they come from, as they are asked for.
        numbers: Their numbers in the snapshot.
        search_again: Gives the page anew, where a file of the index turns out to be damaged when it is read.
    """

    def __init__(
        self,
        rows: Iterable[RunRow] = (),
        *,
        token: str | None = None,
        findings: Iterable[Finding] = (),
        snapshot: IndexSnapshot | None = None,
        numbers: Sequence[int] = (),
        search_again: Callable[[], RunPage] | None = None,
    ) -> None:
        self.token = token
        """Give it to the next search as `page_token`; None on the last page."""
        self.findings = list(findings)
        """What was damaged, and so is missing or incomplete in the answer."""
        self._snapshot = snapshot
        self._numbers = numbers
        self._search_again = search_again
        self._rows: list[RunRow] | None = list(rows) if snapshot is None else None

    @property
    def rows(self) -> list[RunRow]:
        """The runs as a list."""
        if self._rows is None:
            self._rows = self._from_index(lambda snapshot, numbers: snapshot.rows(numbers))
        return self._rows

    def run_ids(self) -> list[str]:
        """Return the ids of the runs, in order, without reading more of them."""
        if self._rows is not None or self._snapshot is None:
            return [row.info.run_id for row in self.rows]
        return self._from_index(lambda snapshot, numbers: snapshot.run_ids(numbers))

    def values(self) -> list[RunValues] | None:
        """Return what is shown of the runs in a list, without reading whole rows; None where these are less work."""
        if self._rows is not None or self._snapshot is None:
            return None
        return self._snapshot.values(self._numbers)

    def uses(self, measures: Collection[str]) -> list[RunUse] | None:
        """Return what of the runs counts towards limits, without reading whole rows; None where these were read."""
        if self._rows is not None or self._snapshot is None:
            return None
        return self._from_index(lambda snapshot, numbers: snapshot.uses(numbers, measures))

    def row(self, place: int) -> RunRow:
        """Return one run, without reading the others."""
        if self._rows is not None:
            return self._rows[place]
        assert self._snapshot is not None
        return self._snapshot.rows([self._numbers[place]])[0]

    def first(self, count: int | None) -> RunPage:
        """Return a page of the first runs; None for all."""
        if count is None or count >= len(self):
            return self
        if self._snapshot is None:
            return RunPage(self.rows[:count], findings=self.findings)
        again = self._search_again
        return RunPage(
            findings=self.findings,
            snapshot=self._snapshot,
            numbers=self._numbers[:count],
            search_again=None if again is None else lambda: again().first(count),
        )

    @overload
    def __getitem__(self, place: SupportsIndex) -> RunRow: ...

    @overload
    def __getitem__(self, place: slice) -> list[RunRow]: ...

    def __getitem__(self, place: SupportsIndex | slice) -> RunRow | list[RunRow]:
        return self.rows[place]

    def __len__(self) -> int:
        return len(self._numbers) if self._rows is None else len(self._rows)

    def __iter__(self) -> Iterator[RunRow]:
        return iter(self.rows)

    def __eq__(self, other: object) -> bool:
        return self.rows == (other.rows if isinstance(other, RunPage) else other)

    __hash__ = None  # type: ignore[assignment]  # as a list

    def __repr__(self) -> str:
        return repr(self.rows)

    def to_arrow(self) -> pa.Table:
        """Return the rows as an Arrow table.

        Run_id, experiment_id, status, artifact_uri, start_time, end_time, `metrics.*`, `params.*`, `tags.*`.
        """
        if self._snapshot is not None and self._snapshot.prefers_columns(len(self)):
            return self._from_index(lambda snapshot, numbers: snapshot.to_arrow(numbers))
        from localtrack.query.frames import to_arrow

        return to_arrow(self)

    def to_pandas(self) -> pd.DataFrame:
        """Return the rows as the data frame that `mlflow.search_runs` gives."""
        from localtrack.query.frames import to_pandas

        if self._snapshot is not None and self._snapshot.prefers_columns(len(self)):
            return self._from_index(lambda snapshot, numbers: snapshot.to_pandas(numbers) if numbers else to_pandas(()))
        return to_pandas(self)

    def to_polars(self) -> pl.DataFrame:
        """Return the rows as a Polars frame with the columns of `to_arrow`."""
        from localtrack.query.frame import table_to_polars

        return table_to_polars(self.to_arrow())

    def _from_index(self, read: Callable[[IndexSnapshot, Sequence[int]], T]) -> T:
        """Read runs of the page; where the index is damaged, become what the search gives now, and read those."""
        assert self._snapshot is not None
        try:
            return read(self._snapshot, self._numbers)
        except DamagedIndexError:
            if self._search_again is None:
                raise
            page, self._search_again = self._search_again(), None
            assert page._snapshot is not None
            self._snapshot, self._numbers, self._rows, self.token = page._snapshot, page._numbers, None, page.token
            self.findings += [finding for finding in page.findings if finding not in self.findings]
            return read(self._snapshot, self._numbers)
