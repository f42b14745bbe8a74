"""Runs of other trackers to runs of a store: MLflow's file backend (`mlruns` folders) and MLflow's SQLite databases.

A *source* is what is read, and only read; nothing of MLflow is needed for it. A *base* is what the last import left of
something: what differs from it in the source has changed there since, what differs from it in the store was changed
here. An import brings the former and leaves the latter alone, so that it can be repeated at any time.

Nothing here knows where the numbers of a run lie in a store: that is for the layer below.
"""
