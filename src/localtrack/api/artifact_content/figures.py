"""Matplotlib and Plotly figures as artifacts."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Mapping
from typing import Any, Final

from localtrack.errors import InvalidInputError

PLOTLY_IMAGE_ENDINGS: Final = (".png", ".jpeg", ".webp", ".svg", ".pdf")


def encode_figure(figure: Any, artifact_file: str, *, save_kwargs: Mapping[str, Any] | None = None) -> bytes:
    """Return a figure in the format that the ending of `artifact_file` names.

    Args:
        figure: A `matplotlib.figure.Figure` or `plotly.graph_objects.Figure`.
        artifact_file: Plotly writes `.html` (with plotly.js from its public address unless `include_plotlyjs` says
            otherwise) and, with kaleido installed, `.png`, `.jpeg`, `.webp`, `.svg` and `.pdf`; Matplotlib what it
            knows, and its default format for a name without ending.
        save_kwargs: Passed to `savefig`, `write_html` or `write_image`.

    Raises:
        InvalidInputError: It is no such figure, or has no such format.
    """
    options = dict(save_kwargs or {})
    ending = os.path.splitext(artifact_file)[1]
    # A figure of a library that was not imported cannot exist, so neither library is imported here.
    if "matplotlib.figure" in sys.modules and isinstance(figure, sys.modules["matplotlib.figure"].Figure):
        return _encode_matplotlib(figure, ending, options)
    if "plotly.graph_objects" in sys.modules and isinstance(figure, sys.modules["plotly.graph_objects"].Figure):
        return _encode_plotly(figure, ending, options)
    raise InvalidInputError(
        f"log_figure needs a Matplotlib or Plotly figure, not {type(figure).__name__}.",
        hint="Of a Matplotlib Axes, log `ax.figure`.",
    )


def _encode_matplotlib(figure: Any, ending: str, options: dict[str, Any]) -> bytes:
    if ending:
        options.setdefault("format", ending[1:].lower())
    sink = io.BytesIO()
    try:
        figure.savefig(sink, **options)
    except (ValueError, TypeError) as error:
        raise InvalidInputError(f"Matplotlib cannot save the figure as {ending or 'an image'!r}: {error}.") from error
    return sink.getvalue()


def _encode_plotly(figure: Any, ending: str, options: dict[str, Any]) -> bytes:
    if ending == ".html":
        text = io.StringIO()
        figure.write_html(text, **{"include_plotlyjs": "cdn", "auto_open": False, **options})
        return text.getvalue().encode()
    if ending in PLOTLY_IMAGE_ENDINGS:
        sink = io.BytesIO()
        try:
            figure.write_image(sink, **{"format": ending[1:], **options})
        except (ValueError, RuntimeError) as error:  # RuntimeError: kaleido, or the browser that it needs, is missing
            reason = " ".join(str(error).split())
            raise InvalidInputError(f"Plotly cannot save the figure as {ending!r}: {reason}") from error
        return sink.getvalue()
    raise InvalidInputError(
        f"Plotly figures cannot be saved as {ending!r}.", hint=f"Use .html or one of {', '.join(PLOTLY_IMAGE_ENDINGS)}."
    )
