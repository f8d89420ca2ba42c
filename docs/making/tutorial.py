"""A page whose commands are run as it is made: what they print stands below them.

A block whose language is `sh run` is run in the page's folder, one block after the other; `head=N
from=WORD` keeps the first lines of what it printed, and all from the one that begins with a word. A
comment `picture: PAGE[#HEADING] WIDTHxHEIGHT TEXT` becomes a picture of a page that the commands
have written, or of the section below the heading with that id.
"""

from __future__ import annotations

import re
import subprocess
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from docs.making.markdown import fenced
from docs.making.pictures import photograph
from docs.making.program import COLUMNS

SECONDS = 900  # for one block
_BLOCK = re.compile(r"^```sh run(?: head=(\d+) from=(\w+))?\n(.*?)^```$", re.M | re.S)
_PICTURE = re.compile(r"^<!-- picture: (\S+) (\d+)x(\d+) (.+?) -->$", re.M)
_STEP = re.compile(f"{_BLOCK.pattern}|{_PICTURE.pattern}", re.M | re.S)


@dataclass(frozen=True)
class Place:
    """Where the commands of a page run, with what environment, and where its pictures go."""

    folder: Path
    environment: Mapping[str, str]
    pictures: Path

    def page(self, markdown: str) -> str:
        """The page with what its commands printed and with its pictures."""
        return _STEP.sub(self._step, markdown)

    def _step(self, found: re.Match[str]) -> str:
        head, word, commands, page, width, height, words = found.groups()
        if commands is None:
            return self._picture(page, int(width), int(height), words)
        printed = self.run(commands).rstrip()
        if word is not None:
            printed = shortened(printed, int(head), word)
        printed = "\n".join(part for line in printed.splitlines() for part in folded(line))
        return f"{fenced(commands, 'sh')}\n{fenced(printed)}" if printed else fenced(commands, "sh")

    def run(self, commands: str) -> str:
        """What a shell printed; RuntimeError where a command failed, which ends the build."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands],
            cwd=self.folder,
            env=dict(self.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS,
        )
        if done.returncode:
            raise RuntimeError(f"{commands.strip()} ended with {done.returncode}:\n{done.stdout}")
        return done.stdout.replace(f"{self.folder}/", "")

    def _picture(self, page: str, width: int, height: int, words: str) -> str:
        self.pictures.mkdir(exist_ok=True)
        file, _, part = page.partition("#")
        name = f"{Path(file).stem}-{part}{'-' if part else ''}{width}x{height}.png"
        if not photograph(self.folder / file, self.pictures / name, width, height, part):
            return f"*No picture of {words}: Chromium was not there when this page was made.*"
        return f"![{words}]({self.pictures.name}/{name})"


def commands_of(markdown: str) -> list[str]:
    """The commands that a page runs, a block each."""
    return [found[3] for found in _BLOCK.finditer(markdown)]


def shortened(text: str, head: int, word: str) -> str:
    """The first lines of a text, and all from the first one that begins with a word."""
    lines = text.splitlines()
    starts = [number for number, line in enumerate(lines) if line.startswith(word)]
    if not starts:
        raise RuntimeError(f"no line of what was printed begins with {word}:\n{text}")
    left_out = ["..."] if starts[0] > head else []
    return "\n".join([*lines[:head], *left_out, *lines[max(head, starts[0]) :]])


def folded(line: str) -> list[str]:
    """A line in as many as a terminal would make of it; the later ones begin where its text does,
    after a first column.
    """
    if len(line) <= COLUMNS:
        return [line]
    column = re.match(r"\w* {2,}", line)
    indent = " " * (len(column[0]) if column else 4)
    return textwrap.wrap(line, COLUMNS, subsequent_indent=indent, break_on_hyphens=False)
