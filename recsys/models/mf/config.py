"""The config of the factorization: frozen values in which illegal combinations cannot be written.

`TrainConfig.from_flat` is the only way in from the flat parameter names that spaces, Optuna,
MLflow and the command line use; `to_flat` is its inverse.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self, get_args

from pydantic import BaseModel, Field, ValidationError, model_validator

from recsys.errors import ConfigError
from recsys.models.base import ModelConfig, Parameter, first_problem


class _Frozen(BaseModel):
    model_config = ModelConfig.model_config


class Bpr(_Frozen):
    """The mean of -log sigmoid(score(u,i) - score(u,j) - margin) over positives i and their
    negatives j (Rendle et al. 2009; with a margin of 0, plain BPR).
    """

    kind: Literal["bpr"] = "bpr"
    margin: float = Field(0.0, ge=-20, le=20)


class Bce(_Frozen):
    """The mean binary cross entropy of sigmoid(score), with label 1 for positives and 0 for
    negatives.
    """

    kind: Literal["bce"] = "bce"


class Softmax(_Frozen):
    """Sampled softmax: the mean of -log of the positive's share of exp(score / temperature), among
    itself and its negatives.
    """

    kind: Literal["softmax"] = "softmax"
    temperature: float = Field(1.0, gt=0, le=100)


class SoftmaxAtK(_Frozen):
    """SL@K, softmax weighed by what matters to a list of K items (Yang et al. 2025, "Breaking the
    Top-K Barrier: Advancing Top-K Ranking Metrics Optimization in Recommender Systems", KDD).

    The mean over positives i of w_ui l_ui: l_ui is `Softmax`'s loss of the row, and

        w_ui = sigmoid((x_ui - beta_u) / weight_temperature),

    with x_ui the score, and beta_u the Top-K quantile of user u: the K-th highest score among the
    user's positives and all items that may be its negatives; K is `top_k`. Both are constants to
    the gradient: were it to go through w_ui, a loss would also be small where the weight is, and
    positives would be pushed below place K (ADR 202).

    beta_u is estimated before each epoch, with the weights as they are, from all positives, which
    count as one each, and `QUANTILE_ITEMS` uniform draws without replacement from the F other
    items, which count as F / `QUANTILE_ITEMS` each: it is the highest score at and above which
    there are at least K, or the lowest of all scores. With no more than `QUANTILE_ITEMS` other
    items it is exact.
    """

    kind: Literal["softmax_at_k"] = "softmax_at_k"
    temperature: float = Field(1.0, gt=0, le=100)
    top_k: int = Field(gt=0, le=100_000)
    weight_temperature: float = Field(0.5, gt=0, le=100)


class Even(_Frozen):
    """BCE: as many negatives as positives for each user. BPR and softmax: one negative for each
    positive.
    """

    mode: Literal["even"] = "even"


class Fixed(_Frozen):
    """BCE: `neg_sample_num` negatives for each user. BPR and softmax: `neg_sample_num` negatives
    for each positive.
    """

    mode: Literal["fixed"] = "fixed"
    count: int = Field(gt=0, le=100_000)


class Hard(_Frozen):
    """For each positive: N candidates are drawn, the M with the highest scores are kept, and K more
    negatives are drawn at random.
    """

    mode: Literal["hard"] = "hard"
    candidates: int = Field(gt=0, le=100_000)
    hard: int = Field(gt=0)
    random: int = Field(0, ge=0, le=100_000)

    @model_validator(mode="after")
    def _m_at_most_n(self) -> Hard:
        if self.hard > self.candidates:
            raise ConfigError(
                f"num_hard_neg_samples (M) is {self.hard}: expected at most "
                f"num_candidate_neg_samples (N), which is {self.candidates}",
                "num_hard_neg_samples",
            )
        return self


class Adam(_Frozen):
    """Dense Adam as in torch (Kingma and Ba 2015): every step moves all rows, and `weight_decay` x
    weight is added to the gradient of each.
    """

    kind: Literal["adam"] = "adam"
    shrinks: ClassVar[str] = "weight_decay"  # what pulls factors towards 0
    lr: float = Field(gt=0, le=10)
    weight_decay: float = Field(0.0, ge=0, le=10)


class Adagrad(_Frozen):
    """Adagrad (Duchi et al. 2011) on the rows that a step touches. `adagrad_per`: whether each
    element or each row has its own sum of squared gradients.

    `l2` (of factors) and `l2_bias` (of item biases) are part of the loss of each sample, so only
    the rows that are touched decay.
    """

    kind: Literal["adagrad"] = "adagrad"
    shrinks: ClassVar[str] = "l2"
    lr: float = Field(gt=0, le=10)
    l2: float = Field(0.0, ge=0, le=10)
    l2_bias: float = Field(0.0, ge=0, le=10)
    per: Literal["element", "row"] = "element"


class Sgd(_Frozen):
    """Plain gradient steps on the rows that a step touches; `l2` and `l2_bias` as in Adagrad."""

    kind: Literal["sgd"] = "sgd"
    shrinks: ClassVar[str] = "l2"
    lr: float = Field(gt=0, le=10)
    l2: float = Field(0.0, ge=0, le=10)
    l2_bias: float = Field(0.0, ge=0, le=10)


AnyLoss = Bpr | Bce | Softmax | SoftmaxAtK
Loss = Annotated[AnyLoss, Field(discriminator="kind")]
Negatives = Annotated[Even | Fixed | Hard, Field(discriminator="mode")]
AnyOptimizer = Adam | Adagrad | Sgd
Optimizer = Annotated[AnyOptimizer, Field(discriminator="kind")]


# The items from which a user's Top-K quantile is estimated, besides its positives.
QUANTILE_ITEMS = 256
# Quantiles are estimated for so many parts of the users, each with a generator of its own, so that
# they do not depend on the number of threads.
QUANTILE_PARTS = 16

# The defaults of the flat parameters that choose between parts of a config.
_DEFAULTS = {"loss": "bpr", "neg_mode": "even", "optimizer": "adagrad"}


def _by_kind(parts: Any) -> dict[str, dict[str, Parameter]]:
    """The parameters of each part of a union besides its kind, by the names of their fields."""
    return {
        part.model_fields["kind"].default: {
            name: Parameter.of(part, name) for name in part.model_fields if name != "kind"
        }
        for part in get_args(parts)
    }


_OF_LOSS = _by_kind(AnyLoss)
_OF_OPTIMIZER = _by_kind(AnyOptimizer)
_FLAT_OPTIMIZER = {"per": "adagrad_per"}  # fields whose flat names say more


class TrainConfig(ModelConfig):
    """Everything that decides a training, except data, seed, threads and device.

    `from_flat` lists the flat names of its parameters.
    """

    model: ClassVar[str] = "lfm"
    structural: ClassVar[tuple[str, ...]] = ("loss", "neg_mode", "optimizer")
    alternatives: ClassVar[tuple[tuple[str, ...], ...]] = (
        ("num_hard_neg_samples", "hard_fraction"),  # M, and M as a fraction of N
    )
    leaks: ClassVar[dict[str, str]] = {"negatives_exclude": "all"}

    loss: Loss
    negatives: Negatives
    optimizer: Optimizer
    latent_factors: int = Field(64, gt=0, le=8192)
    epochs: int = Field(20, gt=0, le=100_000)
    patience: int = Field(5, ge=0)  # evaluations without a new best before stopping; 0: never
    batch_size: int = Field(1, gt=0, le=10_000_000)  # rows per step; 1: online updates
    init_std: float = Field(0.01, gt=0, le=10)
    # "cosine": factors of users and items have length 1; the item bias is still added
    score: Literal["dot", "cosine"] = "dot"
    # "epoch": uniform negatives are drawn anew each epoch; "once": drawn once, as in the report
    redraw: Literal["epoch", "once"] = "epoch"
    # "all" keeps held-out items out of the negatives too: the leak of the report
    negatives_exclude: Literal["train", "all"] = "train"

    @model_validator(mode="after")
    def _legal(self) -> TrainConfig:
        if isinstance(self.loss, Bce) and isinstance(self.negatives, Hard):
            others = " or ".join(kind for kind in _OF_LOSS if kind != "bce")
            raise ConfigError(f"neg_mode hard needs loss {others}, got bce", "neg_mode")
        if self.cosine:
            self._legal_cosine()
        return self

    def _legal_cosine(self) -> None:
        if not isinstance(self.loss, Softmax | SoftmaxAtK):
            # without a temperature, scores between -1 and 1 hardly differ to a loss
            needed = "score cosine needs loss softmax or softmax_at_k"
            raise ConfigError(f"{needed}, got {self.loss.kind}", "score")
        decay = self.optimizer.shrinks
        if getattr(self.optimizer, decay):
            said = "has no meaning with score cosine: factors keep their length"
            raise ConfigError(f"{decay} {said}", decay)
        if self.init_std != type(self).model_fields["init_std"].default:
            said = "has no meaning with score cosine: factors have length 1"
            raise ConfigError(f"init_std {said}", "init_std")

    @classmethod
    def from_flat(cls, flat: dict[str, Any]) -> Self:
        """The config that flat parameters describe.

        Names: loss, margin (for bpr), temperature (softmax, softmax_at_k), top_k and
        weight_temperature (softmax_at_k), neg_mode, neg_sample_num (fixed),
        num_candidate_neg_samples N, num_hard_neg_samples M or hard_fraction f with
        M = max(1, round(f x N)), num_random_neg_samples K (these for hard), optimizer, lr,
        weight_decay (adam), l2, l2_bias (adagrad, sgd), adagrad_per (adagrad), latent_factors,
        epochs, patience, batch_size, init_std, redraw, negatives_exclude, score.

        Raises ConfigError for a parameter that is unknown, missing or out of bounds, or that has no
        effect with the others.
        """
        left = {name: value for name, value in flat.items() if name != "model"}

        def take(*names: str) -> dict[str, Any]:
            return {n: left.pop(n) for n in names if n in left}

        loss = {"kind": _word("loss", left, _OF_LOSS)}
        loss |= take(*_OF_LOSS[loss["kind"]])
        if (cutoff := cls.cutoff(flat)) and cutoff not in loss:
            raise ConfigError(f"{cutoff} (K) is missing: loss {loss['kind']} needs it", cutoff)
        negatives: dict[str, Any] = {"mode": left.pop("neg_mode", _DEFAULTS["neg_mode"])}
        if negatives["mode"] == "fixed":
            if "neg_sample_num" not in left:
                raise ConfigError(
                    "neg_sample_num is missing: neg_mode fixed needs it", "neg_sample_num"
                )
            negatives["count"] = left.pop("neg_sample_num")
        elif negatives["mode"] == "hard":
            negatives |= _hard_from_flat(left)
        optimizer = {"kind": _word("optimizer", left, _OF_OPTIMIZER)}
        for name in _OF_OPTIMIZER[optimizer["kind"]]:
            if (flat_name := _FLAT_OPTIMIZER.get(name, name)) in left:
                optimizer[name] = left.pop(flat_name)
        rest = take(*(cls.model_fields.keys() - {"loss", "negatives", "optimizer"}))
        if left:
            name = sorted(left)[0]
            raise ConfigError(
                f"{name} has no meaning with loss {loss['kind']}, neg_mode {negatives['mode']}, "
                f"optimizer {optimizer['kind']}: remove it or check its spelling",
                name,
            )
        try:
            return cls(loss=loss, negatives=negatives, optimizer=optimizer, **rest)  # type: ignore[arg-type]
        except ValidationError as error:
            raise first_problem(error, _FLAT_NAME) from None

    def to_flat(self) -> dict[str, Any]:
        """The flat parameters that `from_flat` turns back into this config.

        `model` is left out, and so is `score` if it is "dot". Both are defaults, and the seed of a
        trial is derived from what is here, so that configs from before these names keep theirs.
        """
        flat = {"loss": self.loss.kind} | self.loss.model_dump(exclude={"kind"})
        flat["neg_mode"] = self.negatives.mode
        match self.negatives:
            case Fixed(count=count):
                flat["neg_sample_num"] = count
            case Hard(candidates=n, hard=m, random=k):
                flat["num_candidate_neg_samples"] = n
                flat["num_hard_neg_samples"] = m
                flat["num_random_neg_samples"] = k
            case Even():
                pass
            case other:
                raise TypeError(f"neg_mode {other.mode} has no flat parameters")
        flat["optimizer"] = self.optimizer.kind
        for key, value in self.optimizer.model_dump(exclude={"kind"}).items():
            flat[_FLAT_OPTIMIZER.get(key, key)] = value
        flat |= self.model_dump(exclude={"loss", "negatives", "optimizer"})
        if self.score == "dot":
            del flat["score"]
        return flat

    @classmethod
    def cutoff(cls, flat: dict[str, Any]) -> str | None:
        """`top_k`, for the loss that has it; see `ModelConfig.cutoff`."""
        loss = flat.get("loss", _DEFAULTS["loss"])
        return "top_k" if "top_k" in _OF_LOSS.get(loss, {}) else None

    def label(self) -> str:
        """Loss, kind of negatives, factors and counts: `bpr-hard d=256 N=47 M=10 K=2`."""
        match self.negatives:
            case Hard(candidates=n, hard=m, random=k):
                kind, counts = "hard", f" N={n} M={m} K={k}"
            case Fixed(count=count):
                kind, counts = "fixed", f" n={count}"
            case Even():
                kind, counts = "even", ""
            case other:
                raise TypeError(f"neg_mode {other.mode} has no label")
        score = "" if self.score == "dot" else f"-{self.score}"
        return f"{self.loss.kind}{score}-{kind} d={self.latent_factors}{counts}"

    @classmethod
    def parameters(cls) -> dict[str, Parameter]:
        """See `ModelConfig.parameters`; the parts of the config are flattened."""
        flat = {
            "loss": _tags("loss", "kind", *get_args(AnyLoss)),
            **{name: one for own in _OF_LOSS.values() for name, one in own.items()},
            "neg_mode": _tags("neg_mode", "mode", Even, Fixed, Hard),
            "neg_sample_num": Parameter.of(Fixed, "count"),
            "num_candidate_neg_samples": Parameter.of(Hard, "candidates"),
            "num_hard_neg_samples": Parameter.of(Hard, "hard"),
            "hard_fraction": Parameter(float, limits="above 0, at most 1"),
            "num_random_neg_samples": Parameter.of(Hard, "random"),
            "optimizer": _tags("optimizer", "kind", *get_args(AnyOptimizer)),
            **{
                _FLAT_OPTIMIZER.get(name, name): one
                for own in _OF_OPTIMIZER.values()
                for name, one in own.items()
            },
        }
        parts = ("loss", "negatives", "optimizer", "epochs")
        rest = (name for name in cls.model_fields if name not in parts)
        return flat | {name: Parameter.of(cls, name) for name in rest}

    # Both engines ask these: a new word that is not listed here raises KeyError in both of them,
    # instead of being trained as if it were another.

    @property
    def cosine(self) -> bool:
        """Whether a score is a cosine."""
        return {"dot": False, "cosine": True}[self.score]

    @property
    def draws_once(self) -> bool:
        """Whether uniform negatives are drawn once, for all epochs."""
        return {"epoch": False, "once": True}[self.redraw]

    @property
    def excludes_held_out(self) -> bool:
        """Whether held-out items are no negatives either, where the engine is given them."""
        return {"train": False, "all": True}[self.negatives_exclude]

    @property
    def kind(self) -> str:
        """The loss and the kind of negatives, which decide how long an epoch takes for its work."""
        return f"{self.model} {self.loss.kind} {self.negatives.mode}"

    def honest(self) -> Self:
        """This config, with negatives that exclude only the training items."""
        return self.model_copy(update={"negatives_exclude": "train"})

    def for_epochs(self, epochs: int) -> Self:
        """This config with `epochs` epochs. Its patience, which needs held-out items, stays."""
        return self.model_copy(update={"epochs": epochs})


def _tags(name: str, key: str, *parts: type[BaseModel]) -> Parameter:
    words = tuple(str(part.model_fields[key].default) for part in parts)
    return Parameter(str, words, default=_DEFAULTS[name])


def _word(name: str, left: dict[str, Any], known: dict[str, dict[str, Parameter]]) -> str:
    """The kind of a part, taken from flat parameters; ConfigError for one that is not known."""
    kind = left.pop(name, _DEFAULTS[name])
    if not isinstance(kind, str) or kind not in known:
        raise ConfigError(f"{name} is {kind!r}: expected one of {', '.join(known)}", name)
    return kind


def _hard_from_flat(left: dict[str, Any]) -> dict[str, Any]:
    if "num_candidate_neg_samples" not in left:
        raise ConfigError(
            "num_candidate_neg_samples (N) is missing: neg_mode hard needs it",
            "num_candidate_neg_samples",
        )
    n = left.pop("num_candidate_neg_samples")
    if ("num_hard_neg_samples" in left) == ("hard_fraction" in left):
        raise ConfigError(
            "neg_mode hard needs exactly one of num_hard_neg_samples, hard_fraction", "neg_mode"
        )
    if "num_hard_neg_samples" in left:
        m = left.pop("num_hard_neg_samples")
    else:
        fraction = left.pop("hard_fraction")
        if not isinstance(fraction, int | float) or not 0 < fraction <= 1:
            raise ConfigError(
                f"hard_fraction is {fraction!r}: expected a number in (0, 1]", "hard_fraction"
            )
        m = max(1, round(fraction * n)) if isinstance(n, int) else n
    return {"candidates": n, "hard": m, "random": left.pop("num_random_neg_samples", 0)}


# pydantic's locations name our fields; users know the flat names
_FLAT_NAME = {
    "negatives.fixed.count": "neg_sample_num",
    "negatives.hard.candidates": "num_candidate_neg_samples",
    "negatives.hard.hard": "num_hard_neg_samples",
    "negatives.hard.random": "num_random_neg_samples",
    "optimizer.adagrad.per": "adagrad_per",
    "negatives": "neg_mode",
}
