"""A small study, tracked: three families of models learn to read handwritten digits.

Words: a *family* is a kind of model with a grid of settings and becomes a parent run; a *trial* is one point of that
grid and becomes a child run; a *sweep* is one call of the demo. `train` is what code that uses localtrack looks like.
"""
