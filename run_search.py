"""The search from a checkout: `python run_search.py --space bpr_hard`, `--help` for the rest.

The same as the command `recsearch` of an installation.
"""

import sys
from pathlib import Path

HERE = str(Path(__file__).resolve().parent)
if HERE not in sys.path:  # Python leaves a script's folder out under -P and PYTHONSAFEPATH
    sys.path.insert(0, HERE)

from search.cli.main import script  # noqa: E402

if __name__ == "__main__":
    script()
