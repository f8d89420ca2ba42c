"""How long trials may be, where they are judged, and what they cost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from recsys.models import ModelConfig


@dataclass(frozen=True)
class Lengths:
    """judged: the epochs at which a training is judged, ascending. fit: what shortens a training to
    what a trial may take; None: trials are as long as the space has them. cost: of a whole
    training, in any unit; None: all cost the same.
    """

    judged: Callable[[ModelConfig], list[int]]
    fit: Callable[[ModelConfig], ModelConfig] | None = None
    cost: Callable[[ModelConfig], float] | None = None
