"""`python -m recsys.quickstart`."""

import sys

from recsys.output import guard_output, leave
from recsys.safe_files import folder_gone

if __name__ == "__main__":
    guard_output()
    if (gone := folder_gone()) is not None:
        sys.stderr.write(f"error: {gone}\n")
        leave(2)
    from recsys.quickstart.main import main  # imports torch, which would end silently

    leave(main())
