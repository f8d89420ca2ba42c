"""How a search goes through its space: an entry for each word of `searcher` and `scheduler`.

What a word means to the space stands here. What it makes is in `search.tune`, under the same words:
`proposers.PROPOSERS` and `samplers.SAMPLERS` propose configs, `scheduler.SCHEDULERS` end trials
early.
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
    """A way through a space. about: its line in docs/spaces.md; space: what its space is called."""

    about: str
    space: str = "space"
    learns: bool = False  # whether results decide what comes next
    of_study: bool = False  # whether Optuna's study itself proposes, as long as it is small
    whole: bool = False  # whether a search is not done before all its trials are

    def check(self, spec: SearchSpec, params: Node) -> None:
        """Raise ConfigError, at the parameter (a child of `params`) with which it cannot work."""

    def trials(self, spec: SearchSpec) -> int:  # noqa: ARG002
        """How many trials there are where the space does not say."""
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
        """ConfigError unless all parameters have values to count, at most `GRID_LIMIT` configs."""
        for param in spec.searched():
            if param.domain.values() is None:
                raise params.child(param.name, None).fail(
                    "a grid needs values to count: give choice or step, or take searcher gp"
                )
        if self.trials(spec) > GRID_LIMIT:
            raise params.fail(f"the grid has more than {GRID_LIMIT} configs, expected fewer")

    def trials(self, spec: SearchSpec) -> int:
        """All that `enqueue` and the grid have together, counted up to the limit + 1."""
        first = {tuple(sorted(entry)) for entry in spec.enqueue}
        rest = (c for c in spec.grid() if tuple(sorted(c.items())) not in first)
        return len(first) + sum(1 for _ in islice(rest, GRID_LIMIT + 1))

    def listed(self, spec: SearchSpec) -> Iterator[dict[str, Value]]:
        """`enqueue`, then the whole grid; a config that is in both comes twice."""
        yield from super().listed(spec)
        yield from spec.grid()


@dataclass(frozen=True)
class Stopping:
    """What happens to weak trials. about: its line in docs/spaces.md; early: whether any is cut
    short.
    """

    about: str
    early: bool


# The first of each is the default; of a table, the first that lets every trial come to its end.
SEARCHERS = {
    "gp": Way("learns from every rung of the trials so far (a Gaussian process)", learns=True),
    "tpe": Way("learns from how trials ended (Optuna's TPE)", learns=True, of_study=True),
    "random": Way("draws from the whole space, whatever the results"),
    "grid": EveryConfig("tries every config of a space that can be counted, in order"),
}
SCHEDULERS = {
    "asha": Stopping("stops trials that are behind others at the same epoch", early=True),
    "none": Stopping("lets every trial come to its end", early=False),
}
