"""Removing for good, in the order that makes a crash harmless. FORMAT.md sections 12.7 and 13.

Words: *retention* is how long a deleted run can be restored; a *tombstone* says that this much of a run was removed;
    *leftovers* are files of a run that a tombstone covers, since somebody's removal was cut short, or a merge brought
    them back.

Nothing here follows a link: what it leads to is not the store's.
"""
