"""Links in Markdown: which of them lead nowhere."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path


def broken_links(page: Path) -> Iterator[str]:
    """The links of a page to files or headings that are not there; addresses are not tried."""
    text = _without_code(page.read_text(encoding="utf-8"))
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = page if not name else (page.parent / name).resolve()
        if not target.exists() or (anchor and anchor not in anchors(target)):
            yield f"{page.name}: {link}"


def anchors(page: Path) -> set[str]:
    """What its headings are called in links."""
    text = re.sub(r"^(```+).*?^\1$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    found: Counter[str] = Counter()
    for heading in re.findall(r"^#+ (.+)$", text, re.M):
        words = re.sub(r"[^\w\s-]", "", heading.lower()).strip()
        found[re.sub(r"[-\s]+", "-", words)] += 1
    return set(found)


def _without_code(text: str) -> str:
    """The text outside of blocks and of `code`."""
    blocks = re.sub(r"^( *)(```+).*?^\1\2$", "", text, flags=re.M | re.S)
    return re.sub(r"`[^`\n]*`", "", blocks)
