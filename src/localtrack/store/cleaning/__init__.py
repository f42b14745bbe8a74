"""Removing for good, in the order that makes a crash harmless. FORMAT.md sections 12.7 and 13.

Words: an *entity* is a run or a logged model; *retention* is how long a deleted one can be restored; a *tombstone* says
    that this much of it was removed; *leftovers* are files that a tombstone covers, since somebody's removal was cut
    short, or a merge brought them back.

Nothing here follows a link: what it leads to is not the store's.
"""
