"""Command line of the search: `python run_search.py --space bpr_hard`, `--help` for the rest."""

import sys

from recsys.output import guard_output
from search.cli import main

if __name__ == "__main__":
    guard_output()
    sys.exit(main(sys.argv[1:]))
