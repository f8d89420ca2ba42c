"""The reference of the command line, made from its parsers."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from docs.making.markdown import cell, code, fenced, table
from search.cli.arguments import COMMANDS, command_parser, search_parser
from search.paths import COMMAND as PROGRAM

INTRODUCTION = """\
# Command line

Made from the parsers of `search/cli/arguments.py`. In a checkout the program is `python
run_search.py`, after `pip install .` it is `recsearch`; both take the same options. A mistake is
one line on stderr and exit code 2; 0 is done, 1 failed, 130 interrupted.

"""
USAGE = "usage: "


def command_line_page() -> str:
    """The whole page."""
    return INTRODUCTION + "\n".join(
        [
            _section("search", search_parser()),
            *(_section(command, command_parser(command)) for command in COMMANDS),
        ]
    )


def _section(name: str, parser: argparse.ArgumentParser) -> str:
    parser.prog = PROGRAM if name == "search" else f"{PROGRAM} {name}"
    usage = parser.format_usage().removeprefix(USAGE).replace(f"\n{' ' * len(USAGE)}", "\n")
    parts = [f"## {name}\n", f"{parser.description}\n", fenced(usage)]
    for title, actions in options_of(parser):
        parts.append(f"**{title[0].upper()}{title[1:]}**\n")
        parts.append(table(("option", "what it does"), map(_row, actions)))
    return "\n".join(parts)


def options_of(parser: argparse.ArgumentParser) -> Iterator[tuple[str, list[argparse.Action]]]:
    """The groups of a parser that have options, with all of these but `--help`."""
    for group in parser._action_groups:
        actions = [a for a in group._group_actions if a.dest != "help"]
        if actions:
            yield group.title or "", actions


def _row(action: argparse.Action) -> tuple[str, str]:
    value = action.metavar or (f"{{{','.join(action.choices)}}}" if action.choices else "")
    if not value and action.nargs != 0:
        value = action.dest.upper()
    words = [", ".join(action.option_strings), str(value)]
    return code(" ".join(filter(None, words))), cell(action.help or "")
