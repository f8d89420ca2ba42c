"""Command line of the search: `python run_search.py --space bpr_hard`, `--help` for the rest."""

import sys

from search.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
