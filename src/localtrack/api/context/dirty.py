"""Whether tracked files of a repository differ from the last commit: git, running in the background.

Only git knows (ignore rules, line endings, filters), and on a large tree it takes seconds: so it runs beside the
program, and who wants to know asks later. Files that git does not track do not count.

Hazards, and what is done about them:

- The config of a repository can name programs. The file system monitor, external diffs, text conversion and the pager
  are switched off, submodules are not entered, nothing is fetched and no lock is taken. A clean filter (as Git LFS is)
  does run on files that look changed: without it the answer would be wrong. Config is not cloned; git itself refuses a
  repository of another owner.
- git may hang on a dead network drive: it is killed when its time is over, and when the interpreter exits.
- Another thread's `waitpid(-1)`, or SIGCHLD ignored, may take the exit status away: the answer is then unknown.
"""

from __future__ import annotations

import os
import threading
import time
from typing import Final

from localtrack.api import environment
from localtrack.api.context.child import Child, start_child

GIT_TIMEOUT_S: Final = 30.0
_FIRST_POLL_S: Final = 0.002
_LAST_POLL_S: Final = 0.1
# `git diff` and not `git diff-index`: the latter calls a file changed that was only touched.
_ARGUMENTS: Final = (
    "--no-pager",
    "--no-optional-locks",
    "-c",
    "core.fsmonitor=false",
    "-c",
    "protocol.allow=never",
    "diff",
    "--quiet",
    "--no-ext-diff",
    "--no-textconv",
    "--ignore-submodules=dirty",
    "HEAD",
    "--",
)


class DirtyProbe:
    """Git, telling in the background whether tracked files were changed.

    Concurrency: any thread may ask. In a forked child, a probe that had not finished never does: `result` gives None at
    once.

    Args:
        worktree: The top folder of the repository.
        timeout_s: When git is killed.
    """

    def __init__(self, worktree: str, *, timeout_s: float = GIT_TIMEOUT_S) -> None:
        self._worktree = worktree
        self._timeout_s = timeout_s
        self._done = threading.Event()
        self._dirty: bool | None = None
        self._owner_pid = os.getpid()
        self._child: Child | None = None
        self._stopped = False
        self._guard = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="localtrack-git", daemon=True)

    def start(self) -> None:
        """Start git. Call it once."""
        import atexit

        atexit.register(self.stop)
        self._thread.start()

    def result(self, timeout_s: float = 0.0) -> bool | None:
        """Return whether tracked files differ from the last commit; None where that is not known (yet).

        Args:
            timeout_s: How long to wait for git.
        """
        if self._owner_pid != os.getpid():
            return self._dirty
        self._done.wait(timeout_s)
        return self._dirty

    @property
    def is_orphan(self) -> bool:
        """Whether this is the copy, in a forked child, of a probe that had not finished: it never will."""
        return self._owner_pid != os.getpid() and not self._done.is_set()

    def stop(self) -> None:
        """Kill git if it still runs. What it has told stays."""
        if self._owner_pid != os.getpid():
            return
        with self._guard:
            self._stopped = True
            if self._child is not None:
                self._child.kill()

    def _run(self) -> None:
        try:
            self._dirty = self._ask_git()
        except Exception:  # never fatal; and a thread's traceback would land on the user's terminal
            import logging

            logging.getLogger("localtrack").debug("git could not be asked for changed files", exc_info=True)
        finally:
            self._done.set()

    def _ask_git(self) -> bool | None:
        git = environment.find_program("git")
        if git is None:
            return None
        deadline_s = time.monotonic() + self._timeout_s
        with self._guard:
            if self._stopped:
                return None
            self._child = child = start_child([git, "-C", self._worktree, *_ARGUMENTS], environment.git_environment())
        pause_s = _FIRST_POLL_S
        while (code := child.poll()) is None:
            if time.monotonic() >= deadline_s:
                child.kill()
                return None
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _LAST_POLL_S)
        # 128 and others: no commit yet, another owner, a damaged index.
        return {0: False, 1: True}.get(code)
