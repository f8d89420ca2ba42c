"""What a model is: the contract that a search, its race, its test and its refit rely on.

Shapes: U users, I items, L lists of items.
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
from recsys.evaluation import TILE
from recsys.interactions import CSR
from recsys.models.progress import Checkpoints, EpochReport
from recsys.scoring import Vectors

# From lists of items that people like, CSR (L, I), to scores of every item, float32 (L, I). What an
# empty list gets differs between models: equal scores, or those of an average user.
ListScorer = Callable[[CSR], NDArray[np.float32]]


@dataclass(frozen=True)
class Cost:
    """What training a config takes: an estimate, right within an order of magnitude.

    memory: bytes at the peak, excluding the interactions. work: floating-point operations of the
    whole training, excluding evaluation. model: the bytes of the model itself in training, where
    what else training holds would hide which of two models is the smaller one; None: `memory`.
    """

    memory: int
    work: float
    model: int | None = None

    @property
    def model_bytes(self) -> int:
        """By what models are compared in size."""
        return self.memory if self.model is None else self.model


@dataclass(frozen=True)
class Size:
    """The size of a data set, for `Model.cost`: numbers of users, items and positive pairs.

    squares: `CSR.squares`; None where it is not known. Comparison ignores it.
    """

    users: int
    items: int
    positives: int
    squares: int | None = field(default=None, compare=False)

    @staticmethod
    def of(train: CSR) -> Size:
        """The size of a training set."""
        return Size(train.n_users, train.n_items, train.nnz, train.squares)

    @property
    def meetings(self) -> float:
        """How often two items meet in a user's history. Without `squares`, as if all users had the
        same number of items, which is the least that it can be.
        """
        if self.squares is not None:
            return float(self.squares)
        return self.positives**2 / max(self.users, 1)


@dataclass(frozen=True)
class Parameter:
    """A flat parameter of a config: an `int`, a `float`, or one of a few words.

    kind: the type, `str` for words. words: the values it may have, empty for a number. limits: the
    range of a number, such as `above 0, at most 10`. default: None where the parameter must be
    given. Comparison ignores limits and default: models that share a parameter may differ in them.
    """

    kind: type
    words: tuple[str, ...] = ()
    limits: str = field(default="", compare=False)
    default: int | float | str | None = field(default=None, compare=False)

    @property
    def expected(self) -> str:
        """What an error message says was expected."""
        if self.words:
            return "one of " + ", ".join(self.words)
        return "a whole number" if self.kind is int else "a number"

    @staticmethod
    def of(model: type[BaseModel], name: str) -> Parameter:
        """The parameter for the field `name` of a pydantic model."""
        found = model.model_fields[name]
        default = None if found.is_required() else found.default
        if words := get_args(found.annotation):
            return Parameter(str, words, default=default)
        assert found.annotation in (int, float), f"{name}: {found.annotation} is no flat parameter"
        kind = int if found.annotation is int else float
        return Parameter(kind, limits=_limits(found.metadata), default=default)


# pydantic's bounds of a number, and their wording
_LIMITS = {"gt": "above {}", "ge": "at least {}", "lt": "below {}", "le": "at most {}"}


def _limits(bounds: Sequence[Any]) -> str:
    """The range of a number, from the bounds of a pydantic field: `above 0, at most 10`."""
    said = (
        words.format(f"{getattr(bound, key):,.10g}")
        for key, words in _LIMITS.items()
        for bound in bounds
        if hasattr(bound, key)
    )
    return ", ".join(said)


class ModelConfig(BaseModel):
    """The hyperparameters of one model, frozen and typed; one subclass for each model.

    A config is flat only where it enters or leaves the recommender (a space, Optuna, MLflow,
    `config.json`): `from_flat` and `to_flat` convert it. `model` is the name in
    `recsys.models.MODELS`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    model: ClassVar[str]

    @classmethod
    def from_flat(cls, flat: dict[str, Any]) -> Self:
        """The config that flat parameters describe.

        Raises ConfigError for a parameter that is unknown, missing or out of bounds.
        """
        values = {name: value for name, value in flat.items() if name != "model"}
        unknown = sorted(values.keys() - cls.model_fields.keys())
        if unknown:
            raise ConfigError(
                f"{unknown[0]} has no meaning with model {cls.model}: remove it or check its "
                "spelling",
                unknown[0],
            )
        try:
            return cls(**values)
        except ValidationError as error:
            raise first_problem(error) from None

    def to_flat(self) -> dict[str, Any]:
        """The flat parameters that `from_flat` turns back into this config, without any of `unsaid`
        that has its default.
        """
        fields = type(self).model_fields
        out = {name for name in self.unsaid if getattr(self, name) == fields[name].default}
        return {"model": self.model, **self.model_dump(exclude=out)}

    def label(self) -> str:
        """A short description of the config, used in names: `slim k=200 l2=100`."""
        said = self.to_flat()
        kept = (f"{s}={_brief(said[name])}" for name, s in self.shorts.items() if name in said)
        return " ".join([self.model.replace("_", "-"), *kept])

    # the fields that `label` shows, and how it abbreviates each
    shorts: ClassVar[dict[str, str]] = {}
    # flat parameters that decide which others exist
    structural: ClassVar[tuple[str, ...]] = ()
    # flat parameters that `to_flat` leaves out where they have their default, because the seed of a
    # trial depends on what is there, and configs from before these names have to keep theirs
    unsaid: ClassVar[tuple[str, ...]] = ()
    # groups of flat parameters that say the same in different ways; a config takes one of each
    alternatives: ClassVar[tuple[tuple[str, ...], ...]] = ()
    # flat parameters, each with the value that lets training know which items are held out
    leaks: ClassVar[dict[str, str]] = {}

    def key(self) -> str:
        """Canonical JSON: equal configs have equal keys."""
        return json.dumps(self.to_flat(), sort_keys=True, separators=(",", ":"))

    @classmethod
    def parameters(cls) -> dict[str, Parameter]:
        """The flat parameters that a space may set, by name: all but `epochs`, which a space calls
        `max_epochs`.
        """
        return {name: Parameter.of(cls, name) for name in cls.model_fields if name != "epochs"}

    @classmethod
    def has_epochs(cls) -> bool:
        """Whether the model is trained in epochs; `epochs` is the most of them."""
        return "epochs" in cls.model_fields

    @property
    def most_epochs(self) -> int | None:
        """The most epochs of a training; None for a model without epochs."""
        return getattr(self, "epochs", None)

    @property
    def leaky(self) -> bool:
        """Whether training knows which items are held out."""
        flat = self.to_flat()
        return any(flat.get(name) == word for name, word in self.leaks.items())

    @classmethod
    def cutoff(cls, flat: dict[str, Any]) -> str | None:  # noqa: ARG003
        """The flat parameter that says how many places of a list training aims at, if there is one.

        flat: the other parameters. Where a space leaves it out, it is the K of the space's metric.
        """
        return None

    @property
    def compiled(self) -> str:
        """The name of a group of configs whose trainings call the same compiled functions."""
        return self.model

    @property
    def kind(self) -> str:
        """The name of a group of configs that take the same time per operation of `Model.cost`."""
        return self.model

    def honest(self) -> Self:
        """This config, changed so that training does not know which items are held out.

        Returns the config itself unless a subclass says otherwise.
        """
        return self

    def at_most(self, epochs: int) -> Self:
        """This config with `epochs` as the most epochs, of a model that has any. Its patience stays
        and may end a training sooner.
        """
        return self.model_copy(update={"epochs": epochs})

    def for_epochs(self, epochs: int) -> Self:  # noqa: ARG002
        """This config with `epochs` epochs; the config itself for a model without epochs."""
        return self


def _brief(value: Any) -> str:
    """A value as text, rounded to the digits that matter at a glance."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def first_problem(error: ValidationError, names: dict[str, str] | None = None) -> ConfigError:
    """The first problem of a pydantic error, in one line, as the error to raise.

    names: the flat name of a parameter by its dotted location, where they differ. A validator
    raises ConfigError itself, with the parameter that it blames.
    """
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    name = (names or {}).get(where, where.rsplit(".", 1)[-1])
    if first["type"] == "value_error":
        found = first["ctx"]["error"]
        return found if isinstance(found, ConfigError) else ConfigError(str(found))
    got = first.get("input")
    shown = "" if first["type"] == "missing" or isinstance(got, dict) else f" is {got!r}:"
    said = f"{name}{shown} {first['msg'][0].lower()}{first['msg'][1:]}".strip()
    return ConfigError(said, name)


class Model(ABC):
    """A recommender for U users and I items: created, trained in place, asked for scores, saved.

    One file and one line in `recsys.models.MODELS` make a model searchable (`model: NAME` in a
    space), raced, tested, refitted, exported and served. Whatever only one model has, such as a
    leak or parameters that depend on each other, is declared by its `ModelConfig`, not in the
    search.
    """

    @classmethod
    @abstractmethod
    def create(cls, config: Any, n_users: int, n_items: int, *, rng: np.random.Generator) -> Self:
        """An untrained model for `n_users` users (U) and `n_items` items (I).

        config: an instance of the model's own config class. rng: draws the initial weights.
        """

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
        """Train in place, yielding one report per epoch; at the end the model has its best weights.

        config: an instance of the model's own config class. positives: CSR of U x I, with values if
        the config has a weight. held_out: CSR of U x I, or None. With held-out items, an evaluated
        epoch reports `metric`, which decides which epoch is best, and `metrics`. Without them, all
        of the config's epochs run and the last weights are kept. rng: the only source of
        randomness. exclude: CSR of U x I, items that a leaky config keeps out of its negatives;
        other configs ignore it. threads: of the CPU. device: torch's name, "cpu" or "cuda"; models
        that run only on the CPU ignore it. time_limit: seconds of training and evaluation; the
        first epoch trained past it is the last. checkpoints: where checkpoints are kept, and the
        one to continue from; models without epochs make none. The last report has a `stop`. The
        report of an evaluated epoch has its `evaluation`; until the next report is requested, the
        model has the weights of that epoch.

        Raises ConfigError for a metric that is unknown or looks at more places than there are
        items, and for a weight without values, InputError where no user can be evaluated,
        DivergedError where the loss or a weight is not finite.
        """

    @classmethod
    def warm_up(cls, config: Any, *, threads: int = 1) -> None:
        """Compile, or load from disk, what training calls on a CPU, so that workers need not.

        config: any config of the model. Whatever other configs of the model call must be compiled
        as well. threads: of the CPU, for the training. This version trains `config` for one epoch
        on three items.
        """
        few = CSR.from_pairs(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 2]), 2, 3)
        few = few.with_values(np.ones(few.nnz))  # for configs with a weight
        rng = np.random.default_rng(0)
        model = cls.create(config, few.n_users, few.n_items, rng=rng)
        for _ in model.train(config.for_epochs(1), few, None, rng=rng, threads=threads):
            pass

    @abstractmethod
    def score_users(self, users: NDArray) -> NDArray[np.float32]:
        """Scores of every item for some users, float32 (len(users), I); higher is better.

        users: internal ids, int (B,).
        """

    def score_few(self, users: NDArray) -> NDArray[np.float32]:
        """`score_users` of at most `TILE` users, to the last bit as where a whole tile is ranked.

        A matrix product of another shape may round differently, so this version scores a whole
        tile. A model whose rows do not depend on each other scores these users alone.
        """
        assert len(users) <= TILE
        return self.score_users(np.resize(users, TILE))[: len(users)]

    @abstractmethod
    def list_scorer(self, config: Any, seen: CSR) -> ListScorer:
        """A function that scores people the model was not trained on, by the items they like.

        config: the config that the model was trained with. seen: the items it was trained on, CSR
        of U x I. The trained model does not change.
        Whatever all lists share is prepared once, here, so that scoring a list takes little longer
        than scoring a known user.
        """

    def with_seen(self) -> Self:
        """The model to use for lists that may include items which users already have.

        Most models score these items like any others, and return themselves.
        """
        return self

    def vectors(self) -> Vectors | None:
        """The vectors of users and items, if a score is their dot product; otherwise None."""
        return None

    @abstractmethod
    def arrays(self) -> dict[str, NDArray]:
        """The whole trained model as named numeric arrays; `from_arrays` reads them back."""

    @classmethod
    @abstractmethod
    def from_arrays(cls, arrays: dict[str, NDArray]) -> Self:
        """The model that returned these `arrays`."""

    weights_file: ClassVar[str] = "weights.npz"  # the name of a saved model's file

    def to_bytes(self) -> bytes:
        """The content of `weights_file`; reading it back runs no pickled code."""
        buffer = io.BytesIO()
        np.savez(buffer, **self.arrays())  # type: ignore[arg-type]
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """The model whose `to_bytes` returned `content`."""
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return cls.from_arrays(dict(arrays))

    @staticmethod
    @abstractmethod
    def cost(config: Any, size: Size) -> Cost:
        """An estimate of what training `config` on data of this size takes."""

    def to_host(self) -> Self:
        """The model with its weights in host memory."""
        return self

    def to_device(self, device: str) -> Self:  # noqa: ARG002
        """The model with its weights on torch's `device`, where it runs on any; else as it is."""
        return self


class ClosedForm(Model):
    """A model without epochs: created untrained, then solved in one step. A subclass adds `solve`.

    Training reports one epoch, with NaN as its loss.
    """

    @classmethod
    def create(
        cls,
        config: Any,  # noqa: ARG003
        n_users: int,  # noqa: ARG003
        n_items: int,  # noqa: ARG003
        *,
        rng: np.random.Generator,  # noqa: ARG003
    ) -> Self:
        """An object without weights; `solve` makes them, and nothing is random."""
        return cls()

    @abstractmethod
    def solve(self, config: Any, positives: CSR, threads: int = 1) -> None:
        """Fit this object to `positives`, a CSR of U x I, as `config` says, with `threads` threads.

        Raises DivergedError where there is no solution.
        """

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
        """Solve, evaluate if there are held-out items, and report once; see `Model.train`."""
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
