"""A blend: the best items of several models, with scores on a common scale, added with weights.

Each member lists its `depth` best unseen items of a user. An item's score is its distance from the
last score of the list, in standard deviations of the list; items that are not listed count as 0.
So models of any kind can be combined, and the weights can be chosen from short lists alone,
without keeping every score of every member. Shapes: U users, I items, B users of a block, V users
in question, T items of a list.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field, field_serializer, field_validator

from recsys.errors import ConfigError
from recsys.evaluation import TILE
from recsys.interactions import CSR, frozen, nothing_like
from recsys.models import base, config_from_flat, model_of
from recsys.scoring import Scorer

DEPTH = 200


class Member(base.ModelConfig):
    """One model of a blend: its `config`, flat outside, and its `weight` in the sum."""

    model: ClassVar[str] = "member"
    weight: float = Field(gt=0, le=1)
    config: base.ModelConfig

    @field_validator("config", mode="before")
    @classmethod
    def _typed(cls, config: Any) -> Any:
        return config_from_flat(config) if isinstance(config, dict) else config

    @field_serializer("config")
    def _flat(self, config: base.ModelConfig) -> dict[str, Any]:
        return config.to_flat()


class BlendConfig(base.ModelConfig):
    """What a blend is made of. Blends are put together after a search and never searched.

    members: the models and their weights. depth: T, how many items each member lists for a user.
    """

    model: ClassVar[str] = "blend"
    members: tuple[Member, ...] = Field(min_length=1)
    depth: int = Field(DEPTH, gt=0)

    @classmethod
    def from_flat(cls, flat: dict[str, Any]) -> Self:
        """The config that `to_flat` returned, or its JSON, in which `members` is a list.

        Raises ConfigError as `ModelConfig.from_flat` does.
        """
        values = {name: value for name, value in flat.items() if name != "model"}
        if isinstance(values.get("members"), list):
            values["members"] = tuple(values["members"])
        return super().from_flat(values)

    def label(self) -> str:
        """The number of members; their own labels would be too long for a name."""
        return f"blend of {len(self.members)}"

    @property
    def leaky(self) -> bool:
        """Whether the training of any member knows which items are held out."""
        return any(member.config.leaky for member in self.members)


@dataclass(frozen=True, eq=False)
class TopLists:
    """The best unseen items of V users according to one model, and how far each stands out.

    items: int32 (V, T), best first, padded with -1 where fewer are unseen. scores: float32 (V, T),
    the distance from the last score of the list, in standard deviations of the list; 0 for padding,
    and for all items of a list whose scores are equal.
    """

    items: NDArray[np.int32]
    scores: NDArray[np.float32]

    def of(self, rows: NDArray[np.int64]) -> TopLists:
        """The lists at some places: rows, int (B,)."""
        return TopLists(self.items[rows], self.scores[rows])


def top_lists(scorer: Scorer, seen: CSR, users: ArrayLike, depth: int) -> TopLists:
    """The best unseen items of some users according to `scorer`.

    seen: CSR of U x I, the items left out. users: internal ids, int (V,). depth: the length of a
    list; the number of items is the limit. Raises FloatingPointError for a score that is NaN, and
    for an infinite one in a list.
    """
    index = frozen(np.array(users), np.int32)
    depth = min(depth, seen.n_items)
    items = np.empty((len(index), depth), np.int32)
    scores = np.empty((len(index), depth), np.float32)
    for start in range(0, len(index), TILE):
        part = index[start : start + TILE]
        found = np.asarray(scorer.score_users(np.resize(part, TILE)), np.float32)
        lists = lists_of(found[: len(part)], seen, part, depth)
        items[start : start + TILE], scores[start : start + TILE] = lists.items, lists.scores
    return TopLists(items, scores)


def lists_of(
    scores_BI: NDArray[np.float32], seen: CSR, users_B: NDArray[np.int32], depth: int
) -> TopLists:
    """The best unseen items of some users, from their scores of every item.

    scores_BI: float32 (B, I). seen: CSR of U x I, the items left out. users_B: int32 (B,), the
    rows of `seen`. depth: as in `top_lists`, which raises the same errors.
    """
    from recsys.kernels.topk import best_unseen
    from recsys.models.kernels.blend import stand_out

    scores_BI = np.ascontiguousarray(scores_BI, np.float32)
    rows = len(users_B)
    items = np.empty((rows, min(depth, seen.n_items)), np.int32)
    apart = np.empty(items.shape, np.float32)
    if best_unseen(scores_BI, users_B, seen.indptr, seen.indices, items, 0, rows) >= 0:
        raise FloatingPointError("the score of a user and an item is NaN")
    if stand_out(scores_BI, items, apart) >= 0:
        raise FloatingPointError("a score is infinite: it cannot be added to others")
    return TopLists(items, apart)


class Blend(base.Model):
    """A weighted sum of the best items of several trained models. See the module for the scale."""

    def __init__(
        self,
        config: BlendConfig,
        members: Sequence[base.Model],
        seen: CSR | None,
        *,
        leave_out: bool = True,
    ) -> None:
        """A blend of trained models.

        members: in the order of `config.members`. seen: CSR of U x I, what users have; None for a
        blend that only scores lists (`list_scorer`). leave_out: whether the members' lists leave
        out what a user has.
        """
        self.config, self.members, self._seen = config, list(members), seen
        self._leave_out = leave_out

    @classmethod
    def create(cls, *_: Any, **__: Any) -> Blend:
        """Always raises ConfigError, as `train` does."""
        raise ConfigError("a blend is made of trained models: it cannot be trained itself")

    def train(self, *_: Any, **__: Any) -> Any:
        """Always raises ConfigError: members are trained one by one (`fit_model`), each with its
        own seed.
        """
        raise ConfigError("a blend is made of trained models: it cannot be trained itself")

    def score_users(self, users: NDArray) -> NDArray[np.float32]:
        """The weighted sum of the members' lists, float32 (B, I).

        Items with a sum of 0 score from -2 to -1, in the order of the member with the largest
        weight. Raises FloatingPointError as `top_lists` does.
        """
        part = np.asarray(users, np.int32)
        return self._of_members((model.score_users(part) for model in self.members), part)

    def score_few(self, users: NDArray) -> NDArray[np.float32]:
        """See `Model.score_few`: only the members may need a whole tile, lists do not."""
        part = np.asarray(users, np.int32)
        return self._of_members((model.score_few(part) for model in self.members), part)

    def _of_members(self, scores: Iterable[NDArray], part: NDArray) -> NDArray[np.float32]:
        assert self._seen is not None
        return self._added((np.asarray(one, np.float32) for one in scores), self._seen, part)

    def list_scorer(self, config: BlendConfig, seen: CSR) -> base.ListScorer:  # noqa: ARG002
        """Each member scores the lists in its own way; the scores are combined as for known users.

        With `leave_out`, the items of a list are left out of the members' best items.
        """
        scorers = [
            model.list_scorer(member.config, seen)
            for member, model in zip(self.config.members, self.members, strict=True)
        ]

        def scores(lists: CSR) -> NDArray[np.float32]:
            rows = np.arange(lists.n_users, dtype=np.int32)
            return self._added((scorer(lists) for scorer in scorers), lists, rows)

        return scores

    def with_seen(self) -> Blend:
        """The blend whose members' lists may include what users already have."""
        members = [model.with_seen() for model in self.members]
        return Blend(self.config, members, self._seen, leave_out=False)

    def _added(
        self, members: Iterable[NDArray[np.float32]], seen: CSR, part: NDArray[np.int32]
    ) -> NDArray[np.float32]:
        """The blend of the members' scores of the users `part` of `seen`."""
        from recsys.models.kernels.blend import add_lists, rank_below

        weights = [member.weight for member in self.config.members]
        left_out = seen if self._leave_out else nothing_like(seen)
        sums = np.zeros((len(part), seen.n_items), np.float32)
        leading = sums
        for number, (weight, scores) in enumerate(zip(weights, members, strict=True)):
            lists = lists_of(scores, left_out, part, self.config.depth)
            add_lists(lists.items, lists.scores, np.float32(weight), sums)
            if number == weights.index(max(weights)):
                leading = np.ascontiguousarray(scores, np.float32)
        rank_below(leading, sums)
        return sums

    def to_host(self) -> Blend:
        """The same blend, with all members in host memory."""
        members = [model.to_host() for model in self.members]
        return Blend(self.config, members, self._seen, leave_out=self._leave_out)

    def arrays(self) -> dict[str, NDArray]:
        """The whole blend as arrays.

        `config`: JSON, uint8. `indptr` int64 (U+1,), `indices` int32 and `n_items` int64 (1,): what
        users have. `member0`, `member1`, ...: the result of each member's `to_bytes`, uint8.
        """
        return dict(self._parts())

    def _parts(self) -> Iterator[tuple[str, NDArray]]:
        assert self._seen is not None
        return _parts(self.config, (model.to_bytes() for model in self.members), self._seen)

    def to_bytes(self) -> bytes:
        """As in `Model`, with the bytes of one member in memory at a time, besides the result."""
        return _zipped(self._parts())

    @staticmethod
    def packed(config: BlendConfig, weights: list[bytes], seen: CSR) -> bytes:
        """What `to_bytes` returns for a blend of members with these `weights`, without making it.

        weights: of each member, from its `to_bytes`; they are taken out of the list one by one, so
        that both ends are not in memory at once. seen: CSR of U x I, what users have.
        """
        weights.reverse()
        return _zipped(_parts(config, (weights.pop() for _ in config.members), seen))

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray]) -> Blend:
        """The blend that returned these `arrays`; its lists leave out what users have."""
        config = BlendConfig.from_flat(json.loads(arrays["config"].tobytes()))
        members = [
            model_of(member.config).from_bytes(arrays[f"member{number}"].tobytes())
            for number, member in enumerate(config.members)
        ]
        seen = CSR(arrays["indptr"], arrays["indices"], int(arrays["n_items"][0]))
        return cls(config, members, seen)

    @classmethod
    def from_bytes(cls, content: bytes) -> Blend:
        """As in `Model`, reading one member at a time."""
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return cls.from_arrays(arrays)

    @staticmethod
    def cost(config: BlendConfig, size: base.Size) -> base.Cost:
        """The sum of the members' costs, as if all were in memory at once."""
        costs = [model_of(one.config).cost(one.config, size) for one in config.members]
        return base.Cost(sum(c.memory for c in costs), sum(c.work for c in costs))


def _parts(
    config: BlendConfig, weights: Iterable[bytes], seen: CSR
) -> Iterator[tuple[str, NDArray]]:
    """The arrays of a blend by name, each made when it is asked for. weights: of each member."""
    text = json.dumps(config.to_flat(), sort_keys=True).encode()
    yield "config", np.frombuffer(text, np.uint8)
    yield "indptr", seen.indptr
    yield "indices", seen.indices
    yield "n_items", np.array([seen.n_items], np.int64)
    for number, content in enumerate(weights):
        yield f"member{number}", np.frombuffer(content, np.uint8)


def _zipped(arrays: Iterable[tuple[str, NDArray]]) -> bytes:
    """What `numpy.savez` writes of these arrays, which need not be in memory all at once."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in arrays:
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)
    return buffer.getvalue()
