"""Limits: those of other services as a table, those of a store, and how near to them its runs are.

Words: a *limit* has a name such as `run.params`, a value and an action; a *preset* is the limits of a service, each
    with where and when it was read; *use* is what counts towards a limit.

What keeps limits while runs are written lies in `store.run_quota`; this package says what they are and how they stand.
"""
