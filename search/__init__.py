"""The search: what is tried, on which machines, who wins, and how that is shown.

Its rooms and their layers are in docs/architecture.md; `recsys` below it knows none of them. Beside
the rooms lies what several of them need: `summary` puts a result into words (it imports record, and
is above it). Leaves: `stats` (tests and intervals), `guard` (processes started here end with this
one), `words` (numbers as people read them), `paste` (every command that is printed), `durations`,
`names` (of runs and spaces), `paths` (where the project's folders are). Leaves import only leaves.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

# Python's own path is relative where PATH has a relative folder, and what we and Ray start begins
# in other folders: it would not be found there.
if sys.executable:
    with suppress(OSError):  # the current folder was deleted: commands say so themselves
        sys.executable = str(Path(sys.executable).absolute())
