"""A look at every file of a store, and what can be mended without loss. FORMAT.md section 17.

Words: a *finding* names one file or folder that is not as it should be, the invariant that it breaks and what to do; a
    file that is *set aside* is moved to `quarantine/`, under its own key, and read by nobody any more.

What breaks because of a damaged file (points that are missing since their segment is cut) is told with that file, not
    besides: one damage is one finding.
"""
