"""Bytes to records and back, as `schemas/FORMAT.md` says.

Words: a *record* is one line of a *log*; a *writer* is one stream of records by one process; a *chunk* carries on the
points of a long run; a *segment* is a Parquet file made of closed chunks; a *stamp* orders records; a *fold* is what
records add up to.

This layer is pure: no file, clock, environment or randomness. What it needs of those is passed in.
"""
