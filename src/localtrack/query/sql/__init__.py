"""The store as SQL: one SELECT over documented views, read-only, shut in, streamed.

Words: a *view* is a table that a query may name; a *stream* is a view that is read piece by piece, and only where the
query's conditions leave room (`metric_history`, `artifacts`); the *guard* is what a query must pass before it runs.

The way of a query: text -> DuckDB's own syntax tree -> guard -> the views that it names -> batches of Arrow. Each query
gets a database of its own, without files, network, extensions or settings, and gone with its result.
"""
