"""Command line of the search: `python run_search.py --space bpr_hard`, `--help` for the rest."""

import sys

from recsys.output import guard_output, leave
from search.cli.main import main

if __name__ == "__main__":
    guard_output()
    leave(main(sys.argv[1:]))
