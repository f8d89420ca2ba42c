"""How a search explores its space: an entry for each word of `searcher` and `scheduler`.

What a word means for the space is here. What implements it has the same words: `PROPOSERS` in
`search.propose.proposers` and `SAMPLERS` in `search.propose.samplers` propose configs, `SCHEDULERS`
in `search.tune.scheduler` end trials early.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from search.space.domains import Value
from search.space.located import Node
from search.space.spec import SearchSpec

GRID_LIMIT = 10_000
DEFAULT_TRIALS = 64


@dataclass(frozen=True)
class Way:
    """A searcher. about: its line in docs/spaces.md. space: what messages call its space."""

    about: str
    space: str = "space"
    learns: bool = False  # whether results decide what comes next
    of_study: bool = False  # whether Optuna's study itself proposes, as long as it is small
    whole: bool = False  # whether a search needs all of its trials to be complete

    def check(self, spec: SearchSpec, params: Node) -> None:
        """Raise ConfigError at a parameter (a child of `params`) that the searcher can't handle."""

    def trials(self, spec: SearchSpec) -> int:  # noqa: ARG002
        """The number of trials where the space does not set it."""
        return DEFAULT_TRIALS

    def listed(self, spec: SearchSpec) -> Iterator[dict[str, Value]]:
        """The configs that are tried first, whatever the results."""
        yield from (dict(entry) for entry in spec.enqueue)


@dataclass(frozen=True)
class EveryConfig(Way):
    """All configs of a space that can be counted, in the order of the space."""

    space: str = "grid"
    whole: bool = True

    def check(self, spec: SearchSpec, params: Node) -> None:
        """Raise ConfigError unless there are at most `GRID_LIMIT` configs that can be counted."""
        for param in spec.searched():
            if param.domain.values() is None:
                raise params.child(param.name, None).fail(
                    "a grid needs countable values: give choice or step, or use searcher gp"
                )
        if self.trials(spec) > GRID_LIMIT:
            raise params.fail(f"the grid has more than {GRID_LIMIT} configs, expected fewer")

    def trials(self, spec: SearchSpec) -> int:
        """The number of configs in `enqueue` and the grid together, counted up to the limit + 1."""
        first = {tuple(sorted(entry)) for entry in spec.enqueue}
        rest = (c for c in spec.grid() if tuple(sorted(c.items())) not in first)
        return len(first) + sum(1 for _ in islice(rest, GRID_LIMIT + 1))

    def listed(self, spec: SearchSpec) -> Iterator[dict[str, Value]]:
        """`enqueue`, then the whole grid; a config that is in both comes twice."""
        yield from super().listed(spec)
        yield from spec.grid()


@dataclass(frozen=True)
class Stopping:
    """A scheduler. about: its line in docs/spaces.md. early: whether it stops trials early."""

    about: str
    early: bool


# The first of each is the default; for a table, the first that does not stop trials early.
SEARCHERS = {
    "gp": Way("learns from every rung of the trials so far (a Gaussian process)", learns=True),
    "tpe": Way("learns from how trials ended (Optuna's TPE)", learns=True, of_study=True),
    "random": Way("draws from the whole space, whatever the results"),
    "grid": EveryConfig("tries every config of a space that can be counted, in order"),
}
SCHEDULERS = {
    "asha": Stopping(
        "stops trials that are behind others of their method at the same epoch", early=True
    ),
    "none": Stopping("lets every trial come to its end", early=False),
}
