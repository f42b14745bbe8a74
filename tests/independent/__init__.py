"""A second reader of the format, written from `schemas/FORMAT.md` alone, and what is made and checked by hand with it.

Nothing here imports localtrack: the tests hold the library against this package. Words are those of FORMAT.md, and
numbers in comments are its sections. Clarity comes before speed.
"""
