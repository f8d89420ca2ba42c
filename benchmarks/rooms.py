"""The house in figures: files, folders, and who imports whom.

    python -m benchmarks.rooms [FOLDER]

Counted over `search/` and `recsys/` of the checkout in FOLDER, by the imports that stand in the
sources, those inside functions and for type checkers included.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("search", "recsys")


@dataclass(frozen=True)
class House:
    """files, folders, lines: of code. imports: pairs of modules, the second imported by the first.
    doors: pairs of folders that such a pair crosses. circles: groups of modules of which each
    imports itself by way of the others.
    """

    files: int
    folders: int
    lines: int
    imports: frozenset[tuple[str, str]]
    doors: frozenset[tuple[str, str]]
    circles: list[list[str]]


def count(root: Path) -> House:
    """The house of a checkout."""
    paths = {
        module_of(p, root): p for name in PACKAGES for p in sorted((root / name).rglob("*.py"))
    }
    imports = frozenset(
        (module, other)
        for module, path in paths.items()
        for other in imported(module, path, paths)
        if other != module
    )
    folder = {module: path.parent.relative_to(root).as_posix() for module, path in paths.items()}
    return House(
        len(paths),
        len(set(folder.values())),
        sum(len(path.read_text(encoding="utf-8").splitlines()) for path in paths.values()),
        imports,
        frozenset((folder[a], folder[b]) for a, b in imports if folder[a] != folder[b]),
        circles(imports),
    )


def module_of(path: Path, root: Path) -> str:
    """The dotted name of a file; a package has that of its `__init__`."""
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(module: str, path: Path, known: Iterable[str]) -> Iterator[str]:
    """The modules among the `known` ones that a file imports."""
    here = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            start = here[: len(here) - node.level + 1] if node.level else []
            base = ".".join([*start, *([node.module] if node.module else [])])
            for alias in node.names:
                if (inner := f"{base}.{alias.name}") in known:
                    yield inner
                elif base in known:
                    yield base


def circles(imports: Iterable[tuple[str, str]]) -> list[list[str]]:
    """The groups of modules, each sorted, in which every one leads to every other."""
    after: dict[str, set[str]] = {}
    for a, b in imports:
        after.setdefault(a, set()).add(b)
    reached = {module: _reached(module, after) for module in after}
    groups = {
        tuple(sorted(b for b in reached[a] if a in reached.get(b, ())))
        for a in reached
        if a in reached[a]
    }
    return sorted(list(group) for group in groups)


def _reached(module: str, after: dict[str, set[str]]) -> set[str]:
    found: set[str] = set()
    left = [module]
    while left:
        new = after.get(left.pop(), set()) - found
        found |= new
        left += new
    return found


def main() -> None:
    house = count(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT)
    print(f"folders of code                {house.folders:,}")
    print(f"files                          {house.files:,}")
    print(f"lines                          {house.lines:,}")
    print(f"imports between modules        {len(house.imports):,}")
    print(f"folders that import folders    {len(house.doors):,}")
    print(f"circles of modules             {len(house.circles):,}")
    for circle in house.circles:
        print(f"  {', '.join(circle)}")


if __name__ == "__main__":
    main()
