"""A blend is what its lists say, and its weights are chosen honestly."""

from __future__ import annotations

import io
import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from recsys import blending
from recsys.blending import (
    Ballots,
    Means,
    ballots,
    choose_weights,
    cross_fitted,
    depth_of,
    values_of,
)
from recsys.errors import ConfigError
from recsys.evaluation import evaluate, top_items
from recsys.interactions import CSR
from recsys.models import MODELS, Model, config_from_flat, fit_model
from recsys.models.blend import Blend, BlendConfig, TopLists, lists_of, top_lists
from recsys.models.ease import EASE, EaseConfig
from recsys.models.saved import config_text, load_model

RNG = np.random.default_rng
Planted = tuple[CSR, CSR]
FLAT = (
    {"model": "slim", "slim_neighbours": 30},
    {"model": "popularity"},
    {"lr": 0.05, "epochs": 3, "latent_factors": 8, "neg_mode": "even"},
)


class Table:
    """A scorer that is its scores, (U, I)."""

    def __init__(self, scores: np.ndarray) -> None:
        self.scores = np.asarray(scores, np.float32)

    def score_users(self, users: np.ndarray) -> np.ndarray:
        return self.scores[users]


def blend_of(weights: tuple[float, ...], train: CSR, depth: int = 40) -> Blend:
    members = [fit_model(config_from_flat(flat), train, rng=RNG(0)) for flat in FLAT]
    used = [(w, f, m) for w, f, m in zip(weights, FLAT, members, strict=True) if w]
    flat = {"members": [{"weight": w, "config": f} for w, f, _ in used], "depth": depth}
    return Blend(BlendConfig.from_flat(flat), [m for _, _, m in used], train)


@given(
    seed=st.integers(0, 10**6),
    users=st.integers(1, 5),
    items=st.integers(1, 30),
    depth=st.integers(1, 40),
    levels=st.sampled_from([1, 3, 1000]),
)
def test_lists_by_their_definition(
    seed: int, users: int, items: int, depth: int, levels: int
) -> None:
    rng = RNG(seed)
    scores = rng.integers(0, levels, (users, items)).astype(np.float32) - levels / 2
    dense = rng.random((users, items)) < 0.4
    seen = CSR.from_pairs(*np.nonzero(dense), users, items)
    got = lists_of(scores, seen, np.arange(users, dtype=np.int32), depth)
    for u in range(users):
        free = [i for i in np.argsort(-scores[u], kind="stable") if not dense[u, i]][:depth]
        assert got.items[u].tolist() == free + [-1] * (min(depth, items) - len(free))
        values = scores[u, free].astype(float)
        want = values - values[-1] if len(free) else values
        want = want / want.std() if len(free) and want.std() > 0 else np.zeros(len(free))
        assert_allclose(got.scores[u, : len(free)], want, rtol=1e-6, atol=1e-6)
        assert not got.scores[u, len(free) :].any()


def listed_slowly(
    scores: np.ndarray, seen: CSR, users: np.ndarray, depth: int
) -> tuple[np.ndarray, np.ndarray]:
    """`lists_of` by numpy, all users at once."""
    free = np.ones(scores.shape, bool)
    for row, user in enumerate(users):
        free[row, seen.row(int(user))] = False
    order = np.lexsort((np.broadcast_to(np.arange(scores.shape[1]), free.shape), -scores, ~free))
    items = np.where(np.take_along_axis(free, order, 1), order, -1)[:, :depth]
    there = items >= 0
    listed = np.take_along_axis(scores, np.maximum(items, 0), 1).astype(np.float64)
    values = np.where(there, listed, 0.0)
    if not np.isfinite(values).all():
        raise FloatingPointError("infinite")
    last = np.where(there, values, np.inf).min(axis=1, keepdims=True, initial=np.inf)
    above = np.where(there, values - last, 0.0)
    count = np.maximum(there.sum(axis=1, keepdims=True), 1)
    mean = above.sum(axis=1, keepdims=True) / count
    spread = np.sqrt((np.where(there, above - mean, 0.0) ** 2).sum(axis=1, keepdims=True) / count)
    size = np.maximum(np.abs(np.where(np.isfinite(last), last, 0.0)), 1e-30)
    scale = np.where(spread <= 1e-9 * size, np.inf, spread)
    return items, (above / scale).astype(np.float32)


def added_slowly(
    members: list[np.ndarray], weights: list[float], lists: list[TopLists]
) -> np.ndarray:
    """The sum of the members' lists by numpy, all users at once."""
    sums = np.zeros(members[0].shape, np.float32)
    for weight, one in zip(weights, lists, strict=True):
        row, place = np.nonzero(one.items >= 0)
        sums[row, one.items[row, place]] += np.float32(weight) * one.scores[row, place]
    first = members[weights.index(max(weights))]
    top, low = first.max(axis=1, keepdims=True), first.min(axis=1, keepdims=True)
    beyond = (first - top) / np.maximum(top - low, np.float32(1e-30)) - np.float32(1)
    return np.where(sums > 0, sums, beyond)


SHAPES = {
    "seed": st.integers(0, 10**6),
    "rows": st.integers(1, 6),
    "items": st.integers(1, 40),
    "depth": st.integers(1, 50),
    "levels": st.sampled_from([1, 3, 1000]),  # 1: all scores of a row are equal
    "free": st.sampled_from([0.0, 0.1, 0.6, 1.0]),  # 0: everything is seen
}


def drawn(
    seed: int, rows: int, items: int, levels: int, free: float
) -> tuple[np.random.Generator, np.ndarray, CSR]:
    """Scores in float32 of rows whose sizes differ, -inf for some seen items; what is seen."""
    rng = RNG(seed)
    scores = rng.integers(0, levels, (rows, items)) * 10.0 ** rng.integers(-6, 7, (rows, 1))
    scores = (scores + rng.standard_normal((rows, 1))).astype(np.float32)
    seen = rng.random((rows, items)) >= free
    scores[seen & (rng.random((rows, items)) < 0.3)] = -np.inf
    return rng, scores, CSR.from_pairs(*np.nonzero(seen), rows, items)


@given(**SHAPES)
def test_lists_are_those_of_numpy(
    seed: int, rows: int, items: int, depth: int, levels: int, free: float
) -> None:
    """But for the order in which a list's scores are added up; and each by itself."""
    rng, scores, seen = drawn(seed, rows, items, levels, free)
    users = rng.permutation(rows).astype(np.int32)
    got = lists_of(scores[users], seen, users, depth)
    want, apart = listed_slowly(scores[users], seen, users, depth)
    assert_array_equal(got.items, want)
    assert_allclose(got.scores, apart, rtol=2e-7)
    for row in range(rows):
        alone = lists_of(scores[users[row : row + 1]], seen, users[row : row + 1], depth)
        assert_array_equal(alone.items[0], got.items[row])
        assert_array_equal(alone.scores[0], got.scores[row])


@given(**SHAPES)
def test_an_infinite_score_is_an_error_where_it_is_listed(
    seed: int, rows: int, items: int, depth: int, levels: int, free: float
) -> None:
    rng, scores, seen = drawn(seed, rows, items, levels, free)
    scores[rng.random(scores.shape) < 0.1] = rng.choice([-np.inf, np.inf])
    users = np.arange(rows, dtype=np.int32)
    try:
        want, _ = listed_slowly(scores, seen, users, depth)
    except FloatingPointError:
        with pytest.raises(FloatingPointError, match="infinite"):
            lists_of(scores, seen, users, depth)
    else:
        assert_array_equal(lists_of(scores, seen, users, depth).items, want)


@given(**SHAPES, count=st.integers(1, 4))
def test_members_are_added_as_numpy_adds_them(
    seed: int, rows: int, items: int, depth: int, levels: int, free: float, count: int
) -> None:
    """To the last bit, and each user by itself."""
    rng, _, seen = drawn(seed, rows, items, levels, free)
    users = rng.permutation(rows).astype(np.int32)
    members = [drawn(seed + n, rows, items, levels, 1.0)[1] for n in range(count)]
    weights = rng.choice([0.1, 0.2, 0.4], count).tolist()
    flat = [{"weight": weight, "config": FLAT[1]} for weight in weights]
    blend = Blend(BlendConfig.from_flat({"members": flat, "depth": depth}), [], seen)
    got = blend._added(iter(members), seen, users)
    lists = [lists_of(one, seen, users, depth) for one in members]
    assert_array_equal(got, added_slowly(members, weights, lists))
    for row in range(rows):
        some = slice(row, row + 1)
        alone = blend._added((one[some] for one in members), seen, users[some])
        assert_array_equal(alone[0], got[row])


@pytest.mark.parametrize("place", [0, 2])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_blend_of_bad_scores_is_an_error(place: int, bad: float) -> None:
    members = [np.tile(np.arange(5, dtype=np.float32), (3, 1)) for _ in range(3)]
    members[place][1, 2] = bad
    flat = [{"weight": 0.3, "config": FLAT[1]}] * 3
    seen = CSR.from_pairs(np.array([1]), np.array([4]), 3, 5)
    blend = Blend(BlendConfig.from_flat({"members": flat, "depth": 9}), [], seen)
    with pytest.raises(FloatingPointError, match="NaN" if np.isnan(bad) else "infinite"):
        blend._added(iter(members), seen, np.arange(3, dtype=np.int32))


def test_the_scale_of_a_member_does_not_matter() -> None:
    scores = RNG(0).standard_normal((4, 20)).astype(np.float32)
    seen = CSR.from_pairs(np.array([0]), np.array([3]), 4, 20)
    one, other = (top_lists(Table(s), seen, np.arange(4), 9) for s in (scores, 8 * scores - 2))
    assert_array_equal(one.items, other.items)
    assert_allclose(one.scores, other.scores, atol=1e-4)


def test_an_infinite_score_cannot_be_added() -> None:
    seen = CSR.from_pairs(np.array([0]), np.array([0]), 1, 3)
    with pytest.raises(FloatingPointError, match="infinite"):
        top_lists(Table(np.array([[0.0, np.inf, 1.0]])), seen, [0], 2)


def test_lists_are_as_long_as_the_metric_looks() -> None:
    assert depth_of("map@50") == 200
    assert depth_of("recall@500") == 500


def test_a_nan_is_an_error() -> None:
    seen = CSR.from_pairs(np.array([0]), np.array([0]), 1, 3)
    with pytest.raises(FloatingPointError, match="NaN"):
        top_lists(Table(np.array([[0.0, np.nan, 1.0]])), seen, [0], 2)


@pytest.mark.parametrize("metric", ["map@10", "ndcg@20", "recall@5"])
def test_lists_tell_what_the_blend_is(metric: str, planted: Planted) -> None:
    """What weights are chosen by is, user by user, what the finished model is measured to be."""
    train, valid = planted
    weights = (0.5, 0.2, 0.3)
    blend = blend_of(weights, train)
    exact = evaluate(blend, train, valid, [metric])
    lists = [top_lists(model, train, exact.users, 40) for model in blend.members]
    cast = ballots(exact.users, lists, valid)
    assert_allclose(values_of(np.array(weights), cast, metric), exact.per_user[metric])


def test_a_blend_of_one_ranks_as_its_member(planted: Planted) -> None:
    """Beyond its list as well: there the heaviest member goes on."""
    train, _ = planted
    blend = blend_of((1.0, 0.0, 0.0), train, depth=5)
    users = np.arange(train.n_users)
    ours, its = (top_items(m, train, users, 50) for m in (blend, blend.members[0]))
    assert_array_equal(ours[:, :5], its[:, :5])
    assert np.mean(ours == its) > 0.99  # float32 leaves some near ties


def test_saved_and_read_back_it_scores_the_same(planted: Planted, tmp_path: object) -> None:
    train, _ = planted
    blend = blend_of((0.5, 0.25, 0.25), train)
    again = Blend.from_bytes(blend.to_bytes())
    users = np.array([3, 0, 47])
    assert_array_equal(again.score_users(users), blend.score_users(users))
    folder = tmp_path / "model"  # type: ignore[operator]
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(blend.config.to_flat()))
    (folder / Blend.weights_file).write_bytes(blend.to_bytes())
    loaded: Model = load_model(folder)
    assert_array_equal(loaded.score_users(users), blend.score_users(users))


def test_no_space_can_ask_for_a_blend() -> None:
    assert "blend" not in MODELS
    with pytest.raises(ConfigError, match="cannot be trained itself"):
        Blend(
            BlendConfig.from_flat({"members": [{"weight": 1.0, "config": FLAT[0]}]}), [], None
        ).train(None, CSR.from_pairs(np.array([0]), np.array([0]), 1, 1), None)


def test_a_leaky_member_makes_a_leaky_blend() -> None:
    flat = {"lr": 0.1, "negatives_exclude": "all"}
    members = [{"weight": 0.5, "config": one} for one in (flat, {"model": "ease"})]
    assert BlendConfig.from_flat({"members": members}).leaky
    assert not BlendConfig.from_flat({"members": members[1:]}).leaky


def test_members_are_typed_and_written_as_ever() -> None:
    configs = [config_from_flat(one) for one in FLAT]
    shares = [{"weight": w, "config": c} for w, c in zip((0.5, 0.25, 0.25), configs, strict=True)]
    blend = BlendConfig.from_flat({"members": shares, "depth": 9})
    flat = [one | {"config": one["config"].to_flat()} for one in shares]
    plain = {"model": "blend", "members": flat, "depth": 9}
    assert config_text(blend) == json.dumps(plain, indent=2) + "\n"
    again = BlendConfig.from_flat(json.loads(config_text(blend)))
    assert [member.config for member in again.members] == configs
    assert again == blend


def test_a_member_that_is_no_config_is_refused() -> None:
    for config in ({"model": "gone"}, {"model": "slim", "slim_l2": -1.0}, {}, "slim"):
        with pytest.raises(ConfigError):
            BlendConfig.from_flat({"members": [{"weight": 1.0, "config": config}]})


# --- weights --------------------------------------------------------------------------------------


def part(seed: int, *, users: int = 60, items: int = 80) -> Ballots:
    """Two members that each know half of what is liked, and one that knows nothing."""
    rng = RNG(seed)
    liked = rng.random((users, items)) < 0.1
    liked[:, 0] = True
    held = CSR.from_pairs(*np.nonzero(liked), users, items)
    seen = CSR.from_pairs(np.array([], int), np.array([], int), users, items)
    half = rng.random((users, items)) < 0.5
    noise = [rng.standard_normal((users, items)) for _ in range(3)]
    scores = [noise[0] + 3 * (liked & half), noise[1] + 3 * (liked & ~half), 3 * noise[2]]
    index = np.arange(users, dtype=np.int32)
    lists: list[TopLists] = [top_lists(Table(s), seen, index, 40) for s in scores]
    return ballots(index, lists, held)


@pytest.mark.parametrize(("users", "items", "depth"), [(9, 30, 7), (1, 5, 4), (40, 12, 12)])
def test_lists_are_merged_as_one_user_after_another_would_be(
    users: int, items: int, depth: int
) -> None:
    rng = RNG(users)
    liked = np.nonzero(rng.random((users + 3, items)) < 0.3)
    held = CSR.from_pairs(*liked, users + 3, items)
    index = np.sort(rng.choice(users + 3, users, replace=False)).astype(np.int32)
    lists = []
    for _ in range(3):
        found = np.stack([rng.permutation(items)[:depth] for _ in index]).astype(np.int32)
        scores = rng.random(found.shape).astype(np.float32)
        short = np.arange(depth) >= rng.integers(1, depth + 1, len(index))[:, None]
        found[short], scores[short] = -1, 0
        lists.append(TopLists(found, scores))
    cast = ballots(index, lists, held)
    for v, user in enumerate(index):
        there = sorted({int(i) for one in lists for i in one.items[v] if i >= 0})
        assert cast.items[v].tolist() == there + [-1] * (cast.items.shape[1] - len(there))
        assert cast.hits[v, : len(there)].tolist() == [i in held.row(user) for i in there]
        assert not cast.hits[v, len(there) :].any()
        assert cast.held[v] == len(held.row(user))
        for m, one in enumerate(lists):
            known = dict(zip(one.items[v].tolist(), one.scores[v].tolist(), strict=True))
            said = [known.get(i, 0.0) for i in there]
            assert cast.scores[m, v].tolist() == said + [0] * (cast.items.shape[1] - len(there))
    assert cast.items.shape[1] == (cast.items >= 0).sum(axis=1).max()


def test_a_catalogue_of_any_size_is_merged() -> None:
    most = 2**31 - 1
    index = np.arange(2_000, dtype=np.int32)
    held = CSR(np.arange(2_001), np.full(2_000, most - 1, np.int32), most)
    lists = [TopLists(np.full((2_000, 1), most - 1, np.int32), np.ones((2_000, 1), np.float32))]
    cast = ballots(index, lists, held)
    assert cast.hits.all()
    assert (cast.items == most - 1).all()


def chosen_by(parts: list[Ballots], metric: str, most: int) -> np.ndarray:
    return choose_weights(Means(parts, metric), range(len(parts)), most)


def test_who_complements_is_blended_and_who_knows_nothing_is_not() -> None:
    parts = [part(seed) for seed in range(3)]
    weights = chosen_by(parts, "ndcg@10", most=3)
    assert weights.sum() == pytest.approx(1.0)
    assert min(weights[:2]) > 0.25
    assert weights[2] < 0.1
    fresh = part(9)
    alone = max(values_of(np.eye(3)[m], fresh, "ndcg@10").mean() for m in range(3))
    assert values_of(weights, fresh, "ndcg@10").mean() > 1.15 * alone


def test_no_more_members_than_allowed() -> None:
    parts = [part(seed) for seed in range(2)]
    weights = chosen_by(parts, "map@10", most=1)
    alone = [
        np.mean([values_of(np.eye(3)[m], p, "map@10").mean() for p in parts]) for m in (0, 1, 2)
    ]
    assert_array_equal(weights, np.eye(3)[int(np.argmax(alone))])
    assert np.count_nonzero(chosen_by(parts, "map@10", most=2)) == 2


def test_equal_members_give_the_earlier_one_alone() -> None:
    one = part(1)
    twice = Ballots(one.users, one.items, one.scores[[0, 0]], one.hits, one.held)
    assert_array_equal(chosen_by([twice], "map@10", most=2), [1.0, 0.0])


def test_no_part_is_measured_by_weights_that_it_chose() -> None:
    parts = [part(seed) for seed in range(4)]
    measured, weights = cross_fitted(parts, "recall@10", 3, threads=3)
    assert_array_equal(weights, chosen_by(parts, "recall@10", 3))
    alone = cross_fitted(parts, "recall@10", 3)
    assert_array_equal(weights, alone[1])
    assert all(map(np.array_equal, measured, alone[0]))
    for at, values in enumerate(measured):
        others = parts[:at] + parts[at + 1 :]
        chosen = chosen_by(others, "recall@10", 3)
        assert_array_equal(values, values_of(chosen, parts[at], "recall@10"))


def test_some_users_choose_and_all_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [part(seed) for seed in range(3)]
    few = [one.some(20) for one in parts]
    assert all(len(one.users) == 20 == one.scores.shape[1] for one in few)
    assert_array_equal(few[0].scores[1][4], parts[0].scores[1][int(few[0].users[4])])
    assert parts[0].some(60) is parts[0]
    monkeypatch.setattr(blending, "USERS", 20)
    measured, weights = cross_fitted(parts, "recall@10", 3)
    assert_array_equal(weights, chosen_by(few, "recall@10", 3))
    chosen = chosen_by([few[0], few[2]], "recall@10", 3)
    assert_array_equal(measured[1], values_of(chosen, parts[1], "recall@10"))


def test_fewer_candidates_than_places() -> None:
    index = np.array([0], np.int32)
    seen = CSR.from_pairs(np.array([], int), np.array([], int), 1, 9)
    held = CSR.from_pairs(np.array([0]), np.array([4]), 1, 9)
    lists = [top_lists(Table(np.eye(9)[[4]]), seen, index, 2)]
    cast = ballots(index, lists, held)
    assert values_of(np.array([1.0]), cast, "recall@5").tolist() == [1.0]


def test_a_file_made_member_by_member_is_numpys_own(planted: Planted) -> None:
    blend = blend_of((0.5, 0.2, 0.3), planted[0])
    whole = io.BytesIO()
    np.savez(whole, **blend.arrays())  # type: ignore[arg-type]
    assert blend.to_bytes() == whole.getvalue()
    weights = [model.to_bytes() for model in blend.members]
    assert Blend.packed(blend.config, weights, planted[0]) == whole.getvalue()
    assert weights == []  # they are not held any more


def test_the_way_from_members_to_a_blend_takes_twice_its_size() -> None:
    """What a refit holds here: the members' bytes, then the file's, then the file's and models."""
    rng = RNG(0)
    users, items = np.nonzero(rng.random((200, 600)) < 0.05)
    seen = CSR.from_pairs(users, items, 200, 600)
    each = {"weight": 0.2, "config": EaseConfig(ease_l2=10.0).to_flat()}
    config = BlendConfig.from_flat({"members": [each] * 5, "depth": 10})
    member = EASE(seen, 10.0).to_bytes()
    size = 5 * len(member)
    tracemalloc.start()
    weights = [bytes(bytearray(member)) for _ in range(5)]
    content = Blend.packed(config, weights, seen)
    packing = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    model = Blend.from_bytes(content)
    reading = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(model.members) == 5
    assert packing < 2.1 * size
    assert reading < 2.7 * size  # with one member more, as it was and as it is read
