"""Frames that can be drawn. Matplotlib is imported by the first drawing, without pyplot and so without a window."""

from __future__ import annotations

import enum
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, Final

from localtrack.errors import MissingPackageError
from localtrack.query.frame import Frame

if TYPE_CHECKING:
    import pyarrow as pa
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LEGEND_COUNT: Final = 12
"""Up to so many series are named."""

_FEW_DAYS_COUNT: Final = 4


class ChartKind(enum.Enum):
    """How a frame is drawn."""

    LINE = "a line through points"
    BARS = "bars"
    STACKED_BARS = "bars, with a part for each series"
    LINES = "a line for each column"


class Chart(Frame):
    """A frame with a natural picture.

    Args:
        table: What it holds.
        kind: How it is drawn.
        x: The column along the horizontal axis.
        y: The column along the vertical axis, or what that axis is called.
        series: The column that tells series apart.
    """

    def __init__(self, table: pa.Table, kind: ChartKind, x: str, y: str, series: str | None = None) -> None:
        super().__init__(table)
        self._kind, self._x, self._y, self._series = kind, x, y, series

    def plot(self, ax: Axes | None = None) -> Figure:
        """Draw it, and return the figure: `savefig` writes it, notebooks show it, `log_figure` tracks it.

        Args:
            ax: Axes to draw into; those of a new figure by default.

        Raises:
            MissingPackageError: Matplotlib is not installed.
        """
        try:
            from matplotlib.figure import Figure
        except ImportError as error:
            raise MissingPackageError.of("Drawing", "Matplotlib", extra="plot") from error
        if ax is None:
            ax = Figure(figsize=(8, 4.5), layout="constrained").add_subplot()
        draw = {
            ChartKind.LINE: self._draw_line,
            ChartKind.BARS: self._draw_bars,
            ChartKind.STACKED_BARS: self._draw_stacked,
            ChartKind.LINES: self._draw_lines,
        }[self._kind]
        draw(ax)
        ax.set_xlabel(self._x)
        ax.set_ylabel(self._y)
        ax.spines[["top", "right"]].set_visible(False)
        figure = ax.get_figure(root=True)
        assert figure is not None
        return figure

    def _values(self, name: str) -> list[Any]:
        return list(self.to_arrow().column(name).to_pylist())

    def _draw_line(self, ax: Axes) -> None:
        ax.plot(self._values(self._x), self._values(self._y), marker="o", markersize=4)
        _write_dates_short(ax, self._values(self._x))

    def _draw_bars(self, ax: Axes) -> None:
        labels = [moment.strftime("%Y-%m") for moment in self._values(self._x)]
        ax.bar(labels, self._values(self._y))
        for label in ax.get_xticklabels():
            label.set_rotation(30)
            label.set_horizontalalignment("right")

    def _draw_stacked(self, ax: Axes) -> None:
        assert self._series is not None
        days = sorted(set(self._values(self._x)))
        bottom = dict.fromkeys(days, 0)
        names = list(dict.fromkeys(self._values(self._series)))
        for name in sorted(names, key=lambda text: (text is None, text)):
            heights = dict.fromkeys(days, 0)
            for row in self:
                if row[self._series] == name:
                    heights[row[self._x]] += row[self._y]
            label = "(unknown)" if name is None else str(name)
            ax.bar(days, list(heights.values()), bottom=list(bottom.values()), label=label)
            bottom = {day: bottom[day] + heights[day] for day in days}
        if 0 < len(names) <= _LEGEND_COUNT:
            ax.set_ylim(0, max(bottom.values()) * 1.2)  # room for the names above the bars
            ax.legend(loc="upper left", ncols=4, frameon=False, fontsize="small")
        _write_dates_short(ax, self._values(self._x))

    def _draw_lines(self, ax: Axes) -> None:
        x = self._values(self._x)
        names = [name for name in self.columns if name != self._x]
        for name in names:
            # A run has no value in some rows: the line goes on to where it has the next one.
            points = [(place, value) for place, value in zip(x, self._values(name), strict=True) if value is not None]
            ax.plot([p[0] for p in points], [p[1] for p in points], label=name, linewidth=1.2)
        if 0 < len(names) <= _LEGEND_COUNT:
            ax.legend(frameon=False)


def _write_dates_short(ax: Axes, days: Collection[Any]) -> None:
    import matplotlib.dates

    dates: Any = matplotlib.dates  # its classes are without types
    if len(set(days)) < _FEW_DAYS_COUNT:  # too few to choose ticks between them
        ax.set_xticks(sorted(set(days)))
        ax.xaxis.set_major_formatter(dates.DateFormatter("%Y-%m-%d"))
        return
    locator = dates.AutoDateLocator(maxticks=8)
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator))
