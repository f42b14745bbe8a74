"""What people import: the `Store` and `ActiveRun` objects, and MLflow's fluent functions over them.

Words: an *active run* is a run that this process writes to; a *page* is a list of results with the
token of the next one.
"""
