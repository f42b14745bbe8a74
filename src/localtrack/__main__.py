"""The command `localtrack`, which is also `python -m localtrack`."""

import signal
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line with the arguments of the process, and end the process.

    Before the command begins, and once it has ended, Ctrl-C ends the process at once and without a traceback: until
    then nothing was done, and from then on nothing that is left to do at the end of a process has to be done.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where it is ignored, as behind `nohup`
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from localtrack.cli.app import main as run

    run()


if __name__ == "__main__":
    main()
