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


# In a link, between angle brackets, or bare in the text.
_ADDRESS = re.compile(
    r"\]\(((?:https?|ftp)://(?:[^()\s]|\([^()\s]*\))*)"
    r"|<((?:https?|ftp)://[^>\s]*)>"
    r"|((?:https?|ftp)://[^\s<>\"'|\\]+)"
)
# Hosts of this machine, of its network, and numbers.
_NOT_PUBLIC = re.compile(r"(?:\d+(?:\.\d+){3}|\[.*|[^.:]*)(?::\d+)?$")


def addresses(text: str) -> Iterator[str]:
    """The addresses in Markdown; those in code are examples, as is what begins like http://HOST.

    What ends the sentence belongs to an address only where brackets say so.
    """
    for linked, angled, bare in _ADDRESS.findall(_without_code(text)):
        address = linked or angled or bare.rstrip(".,;:!?*_)]}")
        if not re.search(r"://[A-Z]+\b", address):
            yield address


def odd_addresses(pages: dict[str, str]) -> list[str]:
    """What is wrong with the look of addresses, by the texts of pages; none of them is tried."""
    found, spelled = [], dict[str, str]()
    for page, text in pages.items():
        for address in addresses(text):
            scheme, _, rest = address.partition("://")
            host = rest.partition("/")[0]
            same = re.sub(r"^www\.", "", rest.lower()).rstrip("/")
            first = spelled.setdefault(same, address)
            wrong = {
                "not https": scheme != "https",
                "no public host": _NOT_PUBLIC.match(host),
                "a doubled slash": "//" in rest,
                "ends in punctuation": re.search(r"[.,;:!?*_\]}]$", address),
                f"elsewhere {first}": first != address,
            }
            found += [f"{page}: {address}: {what}" for what, is_so in wrong.items() if is_so]
    return found
