"""Brings runs to a remote, exactly once, whatever breaks on the way, and back from it.

A *target* is an MLflow Tracking server, a Databricks workspace or another store. A *push* plans first (`plan`: pure),
then runs the plan (`push`). The *ledger* of a target says what it has acknowledged: it is written before something is
sent (a *claim*) and after it was received. An answer is *unsure* when nobody can tell whether the request was carried
out; then the remote is asked, and only what it does not have is sent. A run is *done* when what the remote says of it
was compared with the store (`verify`).

This package reads stores, never writes to one but for the ledger below `sync/`; what it pulls it writes through
`localtrack.store`. It does not search: a selection by filter is made above, and comes as run ids.
"""
