"""`python -m docs.making DIR`: the pages of the site in DIR/pages, ready for mkdocs."""

from __future__ import annotations

import sys
from pathlib import Path

from docs.making.pages import run_pages, write_pages


def main() -> None:
    """Write every page into the folder named on the command line."""
    (place,) = sys.argv[1:]
    work = Path(place).resolve()
    write_pages(work / "pages")
    run_pages(work / "pages", work)


if __name__ == "__main__":
    main()
