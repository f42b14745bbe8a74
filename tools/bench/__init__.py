"""Benchmarks of localtrack beside a floor of plain files and beside MLflow on SQLite, run in turns.

Words: a *workload* is one file here and one question; a *side* is who answers it (floor, localtrack, mlflow); in a
*round* every side has one *turn*. What counts is the *ratio* of two turns of the same round, because absolute times
say more about the machine than about the library; the *bound* is what the ratio has promised to keep.
"""
