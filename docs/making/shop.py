"""What the tutorial begins with: the purchases of a shop that does not exist."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import numpy as np

from recsys.data.demo import planted

CUSTOMERS, PRODUCTS, PURCHASES = 600, 240, 14_000
COLOURS = "amber blue coral green grey ivory lilac ochre plum red teal white"
THINGS = (
    "apron basket blanket bowl candle chair clock cushion fork kettle lamp mirror mug pillow plate "
    "rug shelf stool teapot vase"
)
REPEATED = 0.06  # of the purchases: bought once more, some weeks later
FIRST_DAY, DAYS = date(2026, 1, 1), 300


def write_shop(folder: Path) -> None:
    """Write purchases.csv, a row each, and sample_submission.csv, some of the customers."""
    rng = np.random.default_rng(2026)
    found = planted(CUSTOMERS, PRODUCTS, PURCHASES, rng=rng)
    names = rng.permutation(
        [f"{colour}-{thing}" for colour in COLOURS.split() for thing in THINGS.split()]
    )
    buyers = found.csr.users()
    progress = found.rank / found.csr.degrees()[buyers]
    days = (progress * (DAYS - 30)).astype(int) + rng.integers(0, 20, len(buyers))
    rows = [
        (int(day), f"C{1000 + buyer}", names[item])
        for day, buyer, item in zip(days, buyers, found.csr.indices, strict=True)
    ]
    again = rng.choice(len(rows), int(REPEATED * len(rows)), replace=False)
    rows += [(min(day + 21, DAYS), buyer, item) for day, buyer, item in (rows[n] for n in again)]
    lines = [
        f"{buyer},{item},{FIRST_DAY + timedelta(days=day)}" for day, buyer, item in sorted(rows)
    ]
    (folder / "purchases.csv").write_text("\n".join(["customer,product,date", *lines]) + "\n")
    asked = [f"C{1000 + n}" for n in sorted(rng.choice(CUSTOMERS, 50, replace=False), reverse=True)]
    sample = ["UserId,ItemId", *(f"{buyer}," for buyer in asked)]
    (folder / "sample_submission.csv").write_text("\n".join(sample) + "\n")
