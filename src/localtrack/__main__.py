"""`python -m localtrack`: the same as the command `localtrack`."""

from localtrack.cli import main

if __name__ == "__main__":
    main()
