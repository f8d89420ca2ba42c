"""What a model is: the contract that a search, its race, its test and its refit rely on.

Shapes: U users, I items, B users of a block.
"""

from __future__ import annotations

import io
import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from recsys.errors import ConfigError
from recsys.interactions import CSR
from recsys.models.progress import Checkpoints, EpochReport
from recsys.scoring import Vectors

# For lists of items that people like, CSR (L, I): scores of every item, float32 (L, I). Whoever has
# an empty list gets what suits everybody.
ListScorer = Callable[[CSR], NDArray[np.float32]]


@dataclass(frozen=True)
class Cost:
    """What training a config takes, roughly: right within an order of magnitude.

    memory: bytes held at the peak, not counting the interactions. work: floating-point operations
    of the whole training, evaluation not included.
    """

    memory: int
    work: float


@dataclass(frozen=True)
class Size:
    """How large a data set is, for `Model.cost`."""

    users: int
    items: int
    positives: int


@dataclass(frozen=True)
class Parameter:
    """A flat parameter of a config: `int`, `float`, or one of some words.

    limits: what the config takes, in words. default: None where the parameter must be given. Both
    may differ between models that share a parameter.
    """

    kind: type
    words: tuple[str, ...] = ()
    limits: str = field(default="", compare=False)
    default: int | float | str | None = field(default=None, compare=False)

    @property
    def expected(self) -> str:
        """What a message says was expected."""
        if self.words:
            return "one of " + ", ".join(self.words)
        return "a whole number" if self.kind is int else "a number"

    @staticmethod
    def of(model: type[BaseModel], name: str) -> Parameter:
        """The parameter that a field of a pydantic model is."""
        found = model.model_fields[name]
        default = None if found.is_required() else found.default
        if words := get_args(found.annotation):
            return Parameter(str, words, default=default)
        assert found.annotation in (int, float), f"{name}: {found.annotation} is no flat parameter"
        kind = int if found.annotation is int else float
        return Parameter(kind, limits=_limits(found.metadata), default=default)


# pydantic's bounds of a number, and how they are said
_LIMITS = {"gt": "above {}", "ge": "at least {}", "lt": "below {}", "le": "at most {}"}


def _limits(bounds: Sequence[Any]) -> str:
    """What a number may be, of the bounds of a pydantic field: `above 0, at most 10`."""
    said = (
        words.format(f"{getattr(bound, key):,.10g}")
        for key, words in _LIMITS.items()
        for bound in bounds
        if hasattr(bound, key)
    )
    return ", ".join(said)


class ModelConfig(BaseModel):
    """The hyperparameters of one model, frozen and typed; one subclass for each model.

    A config is flat at the doors only (a space, Optuna, MLflow, `config.json`): `from_flat` and
    `to_flat` are these doors. `model` is the name in `recsys.models.MODELS`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    model: ClassVar[str]

    @classmethod
    def from_flat(cls, flat: dict[str, Any]) -> Self:
        """Build from flat parameters; an unknown, missing or illegal one is a `ConfigError`."""
        values = {name: value for name, value in flat.items() if name != "model"}
        unknown = sorted(values.keys() - cls.model_fields.keys())
        if unknown:
            raise ConfigError(
                f"{unknown[0]} has no meaning with model {cls.model}: remove it or check its "
                "spelling"
            )
        try:
            return cls(**values)
        except ValidationError as error:
            raise ConfigError(first_problem(error)) from None

    def to_flat(self) -> dict[str, Any]:
        """The flat parameters that `from_flat` turns back into this config."""
        return {"model": self.model, **self.model_dump()}

    def label(self) -> str:
        """The config in a few words, as a name shows it: `slim k=200 l2=100`."""
        kept = (f"{short}={_brief(getattr(self, name))}" for name, short in self.shorts.items())
        return " ".join([self.model.replace("_", "-"), *kept])

    # what `label` shows: fields, and what each is called there
    shorts: ClassVar[dict[str, str]] = {}
    # flat parameters that decide which others exist
    structural: ClassVar[tuple[str, ...]] = ()
    # flat parameters that say the same in different ways, of which a config takes one
    alternatives: ClassVar[tuple[tuple[str, ...], ...]] = ()
    # flat parameters with a word of which a training knows which items are held out
    leaks: ClassVar[dict[str, str]] = {}

    def key(self) -> str:
        """Canonical JSON: equal configs have equal keys."""
        return json.dumps(self.to_flat(), sort_keys=True, separators=(",", ":"))

    @classmethod
    def parameters(cls) -> dict[str, Parameter]:
        """What a space may set. `epochs` is not among them: it is the space's `max_epochs`."""
        return {name: Parameter.of(cls, name) for name in cls.model_fields if name != "epochs"}

    @property
    def leaky(self) -> bool:
        """Whether training knows which items are held out."""
        flat = self.to_flat()
        return any(flat.get(name) == word for name, word in self.leaks.items())

    @property
    def kind(self) -> str:
        """What configs have in common whose seconds grow alike with their work (`Model.cost`)."""
        return self.model

    def honest(self) -> Self:
        """This config without any knowledge of what is held out; itself where it has none."""
        return self

    def for_epochs(self, epochs: int) -> Self:  # noqa: ARG002
        """This config, trained for exactly `epochs` epochs; itself for a model without epochs."""
        return self


def _brief(value: Any) -> str:
    """A parameter with the digits that tell two configs apart at a glance."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def first_problem(error: ValidationError, names: dict[str, str] | None = None) -> str:
    """The first problem of a pydantic error in one line; `names`: location to flat name."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    name = (names or {}).get(where, where.rsplit(".", 1)[-1])
    if first["type"] == "value_error":
        return str(first["ctx"]["error"])
    got = first.get("input")
    shown = "" if first["type"] == "missing" or isinstance(got, dict) else f" is {got!r}:"
    return f"{name}{shown} {first['msg'][0].lower()}{first['msg'][1:]}".strip()


class Model(ABC):
    """A recommender for U users and I items: created, trained in place, asked for scores, saved.

    One file and one line in `recsys.models.MODELS` make a model searchable (`model: NAME` in a
    space), raced, tested, refitted, exported and served. What only one model has, such as a leak
    or parameters that depend on each other, its config class says (`ModelConfig`), not the search.
    """

    @classmethod
    @abstractmethod
    def create(cls, config: Any, n_users: int, n_items: int, *, rng: np.random.Generator) -> Self:
        """An untrained model; `config` is of the model's own config class."""

    @abstractmethod
    def train(
        self,
        config: Any,
        positives: CSR,
        held_out: CSR | None,
        *,
        rng: np.random.Generator,
        metric: str = "map@50",
        metrics: Sequence[str] = (),
        exclude: CSR | None = None,
        threads: int = 1,
        device: str = "cpu",
        time_limit: float | None = None,
        checkpoints: Checkpoints | None = None,
    ) -> Iterator[EpochReport]:
        """Train in place, with one report per epoch; at the end the model holds its best weights.

        positives, held_out: CSR of U x I. With held-out items each evaluated epoch has `metric`,
        which decides what is best, and `metrics`; without, exactly the config's epochs run.
        exclude: items that a leaky config keeps out of its negatives; others ignore it.
        time_limit: seconds; the epoch that passes it is the last. The last report has a `stop`. A
        report that is evaluated has its `evaluation`, and until the next the model is of its epoch.
        checkpoints: where they are kept, and the one to continue from; a model without epochs
        makes none.

        Raises ConfigError for a metric that is unknown or too deep, InputError where nobody has
        a held-out item, DivergedError where the loss or a weight is not finite.
        """

    @classmethod
    def warm_up(cls, config: Any, *, threads: int = 1) -> None:
        """Compile, or load from disk, what training calls on a CPU, before workers all do it.

        config: any that a space can draw; others of the model shall find theirs compiled as well.
        Here it is trained for an epoch on three items.
        """
        few = CSR.from_pairs(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 2]), 2, 3)
        rng = np.random.default_rng(0)
        model = cls.create(config, few.n_users, few.n_items, rng=rng)
        for _ in model.train(config.for_epochs(1), few, None, rng=rng, threads=threads):
            pass

    @abstractmethod
    def score_users(self, users: NDArray) -> NDArray[np.float32]:
        """Scores of every item for some users, float32 (len(users), I); higher is better."""

    @abstractmethod
    def list_scorer(self, config: Any) -> ListScorer:
        """How people who were not trained on are scored, by the items they like.

        config: what the model was trained with. The trained model stays as it is, and so does what
        the scorer prepares once. No list takes longer than scoring a known user by much.
        """

    def with_seen(self) -> Self:
        """The model for lists that may hold items which users have; most don't know of these."""
        return self

    def vectors(self) -> Vectors | None:
        """Users and items as vectors; None for a model that has none."""
        return None

    @abstractmethod
    def arrays(self) -> dict[str, NDArray]:
        """All that a trained model is, as named numeric arrays; `from_arrays` reads them back."""

    @classmethod
    @abstractmethod
    def from_arrays(cls, arrays: dict[str, NDArray]) -> Self:
        """The model that `arrays` came from."""

    weights_file: ClassVar[str] = "weights.npz"  # what a saved model's file is called

    def to_bytes(self) -> bytes:
        """The content of `weights_file`; reading it back runs no pickled code."""
        buffer = io.BytesIO()
        np.savez(buffer, **self.arrays())  # type: ignore[arg-type]
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """The model whose `to_bytes` this is."""
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return cls.from_arrays(dict(arrays))

    @staticmethod
    @abstractmethod
    def cost(config: Any, size: Size) -> Cost:
        """What training `config` on data of this size takes."""

    def to_host(self) -> Self:
        """The model with its weights in host memory."""
        return self


class ClosedForm(Model):
    """A model without epochs: made untrained, then solved at once. A subclass adds `solve`."""

    @classmethod
    def create(
        cls,
        config: Any,  # noqa: ARG003
        n_users: int,  # noqa: ARG003
        n_items: int,  # noqa: ARG003
        *,
        rng: np.random.Generator,  # noqa: ARG003
    ) -> Self:
        """An object without weights: `solve` makes them, and draws nothing at random."""
        return cls()

    @abstractmethod
    def solve(self, config: Any, positives: CSR, threads: int = 1) -> None:
        """Become the model of `positives` (U x I) that `config` describes."""

    def train(
        self,
        config: Any,
        positives: CSR,
        held_out: CSR | None,
        *,
        metric: str = "map@50",
        metrics: Sequence[str] = (),
        threads: int = 1,
        **_: Any,
    ) -> Iterator[EpochReport]:
        """Solve, and report once."""
        from recsys.evaluation import evaluate

        began = time.perf_counter()
        self.solve(config, positives, threads)
        trained = time.perf_counter()
        found, values = None, dict[str, float]()
        if held_out is not None:
            names = list(dict.fromkeys([metric, *metrics]))
            found = evaluate(self, positives, held_out, names, threads=threads)
            values = found.values
        done = time.perf_counter()
        best, loss = values.get(metric, float("nan")), float("nan")
        yield EpochReport(
            1, loss, values, 1, best, trained - began, done - trained, "epochs", found
        )
