"""Whether tracked files of a repository differ from the last commit: git, running in the background.

Only git knows (ignore rules, line endings, filters), and on a large tree it takes seconds: so it runs beside the
program, and who wants to know asks later. Files that git does not track do not count.

Hazards, and what is done about them:

- The config of a repository can name programs. The file system monitor and the pager are switched off, `git status`
  runs no diff programs, submodules are not entered, nothing is fetched and no lock is taken. A clean filter (as Git LFS
  is) does run on files that look changed: without it the answer would be wrong. Config is not cloned, and git itself
  refuses a repository of another owner.
- git may hang on a dead network drive: it is killed when its time is over, and when the interpreter exits.
- Another thread's `waitpid(-1)`, or SIGCHLD ignored, may take the exit status away: the answer is then unknown.
"""

from __future__ import annotations

import os
import threading
from typing import Final

from localtrack.api import environment
from localtrack.api.context.child import Child, start_child

GIT_TIMEOUT_S: Final = 30.0
# `git diff-index` calls a file changed that was only touched, and `git diff` writes the index to remember that it was
# not, optional locks or no: a `git commit` of the user at that moment would fail.
_ARGUMENTS: Final = (
    "--no-pager",
    "--no-optional-locks",
    "-c",
    "core.fsmonitor=false",
    "-c",
    "protocol.allow=never",
    "status",
    "--porcelain",
    "--untracked-files=no",
    "--ignore-submodules=dirty",
    "--no-renames",
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
        with self._guard:
            if self._stopped:
                return None
            self._child = child = start_child([git, "-C", self._worktree, *_ARGUMENTS], environment.git_environment())
        ended = child.wait(self._timeout_s)
        if ended is None:
            child.kill()
            return None
        code, output = ended
        # Other codes: no repository, another owner, a damaged index.
        return bool(output) if code == 0 else None
