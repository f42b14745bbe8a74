"""Segments: the closed chunks a..b of one writer's metric points, sealed into one Parquet file.

Columns, none of them null: `key`, `number` (the writer's number of the point), `step`, `timestamp_ms`, `value`; rows
sorted by (key, number). Keys are sorted by their UTF-8 bytes, also the order of Python's strings. Importing this
loads no PyArrow; calling what it offers does.

Format: FORMAT.md, "Segments".
"""

from __future__ import annotations

from localtrack.format.segment_fold import fold_table
from localtrack.format.segment_info import MetricFold, SegmentInfo
from localtrack.format.segment_merge import merge_segments
from localtrack.format.segment_read import SegmentFooter, read_footer, read_info, read_key, read_points
from localtrack.format.segment_table import build_table, points_to_pandas, segment_schema
from localtrack.format.segment_write import write_segment

__all__ = [
    "MetricFold",
    "SegmentFooter",
    "SegmentInfo",
    "build_table",
    "fold_table",
    "merge_segments",
    "points_to_pandas",
    "read_footer",
    "read_info",
    "read_key",
    "read_points",
    "segment_schema",
    "write_segment",
]
