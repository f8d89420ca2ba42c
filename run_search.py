"""The search from a checkout: `python run_search.py --space bpr_hard`, `--help` for the rest.

The same as the command `recsearch` of an installation.
"""

from search.cli.main import script

if __name__ == "__main__":
    script()
