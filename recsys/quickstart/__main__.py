"""`python -m recsys.quickstart`."""

from recsys.output import guard_output, leave
from recsys.quickstart.main import main

if __name__ == "__main__":
    guard_output()
    leave(main())
