"""Where a run comes from: user, host, script or notebook, git commit, command, Python, as tags.

Words: a *provider* gives some of the tags and may fail without harm; a *repository* is the git work tree that the main
script lies in; a *probe* is git running in the background to tell whether tracked files were changed.

Nothing here writes, goes over the network, or waits. The git commit is read from `.git` without running git.
"""

from __future__ import annotations

from localtrack.api.context.capture import GIT_DIRTY_TAG, capture_context, dirty_probe, dirty_tags
from localtrack.api.context.dirty import GIT_TIMEOUT_S, DirtyProbe

__all__ = ["GIT_DIRTY_TAG", "GIT_TIMEOUT_S", "DirtyProbe", "capture_context", "dirty_probe", "dirty_tags"]
