"""Experiments, runs and their logs. The invariants of `schemas/FORMAT.md` are kept here.

Words: a *site* is an opened store; a *run writer* is this process's hand in one run; a *run reading* is what somebody
    else sees of it.

Knows bytes (`format`) and places (`storage`), nothing of queries, users' settings or MLflow.
"""
