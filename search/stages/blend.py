"""The blend of the finalists, measured on splits that did not choose its weights.

The race leaves every finalist's lists on every fresh split. On each split they are added up here
with weights that the other splits chose, and the sum is compared, user by user, with the finalist
that the other splits would have made the winner; the final weights are chosen on all splits. Only
a blend that is proven better is handed over in the winner's place, and only if all of it can be
trained: otherwise the winner is, alone. Where the race had one split, each half of its users
chooses for the other half.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from recsys.blending import ballots, cross_fitted, depth_of, voters
from recsys.evaluation import Evaluation, evaluate
from recsys.interactions import CSR
from recsys.metrics import PER_USER, parse_metric
from recsys.models import ModelConfig, model_of
from recsys.models.base import Size
from recsys.models.blend import Blend, BlendConfig, Member
from search.machine.cluster import Failure
from search.machine.cores import usable_cores
from search.machine.memory import usable_memory
from search.record.compared import comparison
from search.record.result import Blended, BlendMember, Decided
from search.stages.context import Stages
from search.stages.lineup import room_left
from search.stages.lists import lists_file, load_lists
from search.stages.replicates import fresh_splits, load_per_user
from search.stages.winner import (
    FinalTraining,
    final_training,
    learned,
    race_decided,
    refit_task,
)
from search.stages.work import Work, failed, on_workers
from search.stats import compare_paired

What = Literal["test", "refit"]
ON: Mapping[What, str] = {"test": "train + validation", "refit": "everything"}
# Bytes of the ballots here in the driver: at most so many, and this share of the memory.
VOTES_BYTES, VOTES_SHARE = 1e9, 1 / 8
LEAST_VOTERS = 100
MOST_FINALISTS = 12  # that are weighed; more cost memory and time, and the best are among these


def choose_blend(run: Stages) -> Blended:
    """Members, weights, and how the blend compares with the winner; or why there is none."""
    race = race_decided(run)
    reason = _why_not(race, run.spec.metric)
    if reason is not None:
        return _none(run, reason)
    folder, replicates = run.folder.path, race.replicates
    rows = race.finalists[:MOST_FINALISTS]
    if replicates < 2 and room_left(run, 0.0)([run.state.trials[row.id] for row in rows]) < 0:
        return _none(run, "no time is left to train its members")
    if not all(lists_file(folder, row.id, r).exists() for row in rows for r in range(replicates)):
        return _none(run, "the finalists' lists in the run folder are gone")
    run.display.note(f"weighing {len(rows)} finalists on {replicates} fresh splits")
    depth = min(depth_of(run.spec.metric), run.split.train.n_items)
    most = most_voters(replicates, len(rows), depth, usable_memory())
    parts, groups = [], []
    for r, split in enumerate(fresh_splits(run.split, run.plan, run.settings.seed, replicates)):
        asked = voters(split.train, split.valid, split.seed)
        lists = [load_lists(lists_file(folder, row.id, r)) for row in rows]
        shuffled = np.random.default_rng([split.seed, 14]).permutation(len(asked))[:most]
        for some in [shuffled] if replicates > 1 else [shuffled[::2], shuffled[1::2]]:
            at = np.sort(some)
            parts.append(ballots(asked[at], [one.of(at) for one in lists], split.valid))
            groups.append(UserGroup(r, asked[at]))
    if not all(len(group.users) for group in groups):
        return _none(
            run,
            "a fresh split has no user to measure it on"
            if replicates > 1
            else "a single split needs two users: one to choose weights and one to measure them",
        )
    measured, weights = cross_fitted(parts, run.spec.metric, run.spec.blend, threads=usable_cores())
    members = [
        BlendMember(id=row.id, weight=float(weight), mean=row.mean, epochs=learned(row.best_epochs))
        for row, weight in zip(rows, weights, strict=True)
        if weight > 0
    ]
    if len(members) == 1:
        return _none(run, f"no sum of finalists is better than {members[0].id} alone")
    winners = _winners(run, race, groups)
    mine, others = _side_by_side(run, winners, groups, measured)
    found = compare_paired(mine, others, np.random.default_rng([run.settings.seed, 12]))
    name = f"the winner {race.winner}"
    if set(winners) != {race.winner}:
        others_choose = "splits choose" if replicates > 1 else "half of the users choose"
        name = f"the finalist that the other {others_choose}"
    return Blended(
        members=tuple(sorted(members, key=lambda member: -member.weight)),
        values=tuple(float(values) for values in np.nanmean(mine, axis=1)),
        mean=float(np.mean(np.nanmean(mine, axis=1))),
        winner_mean=float(np.mean(np.nanmean(others, axis=1))),
        comparison=comparison(race.winner, found, name, "the blend"),
        handed_over=bool(found.proven and found.gain > 0),
    )


def most_voters(replicates: int, members: int, depth: int, memory: float) -> int:
    """For how many users of each split there is memory. members: finalists. depth: items of a list;
    lists are taken to differ in half of them. memory: bytes of this machine.
    """
    most = min(VOTES_BYTES, VOTES_SHARE * memory)
    return max(LEAST_VOTERS, int(most / (4 * replicates * members * members * depth / 2)))


def _none(run: Stages, reason: str) -> Blended:
    run.display.note(f"no blend: {reason}")
    return Blended(skipped=reason)


def _why_not(race: Decided, metric: str) -> str | None:
    """Why there can be no blend, in half a line."""
    if len(race.finalists) < 2:
        return "it takes at least two finalists of a race"
    if parse_metric(metric).kind not in PER_USER:
        return f"{metric} has no value for a single user"
    return None


@dataclass(frozen=True, eq=False)
class UserGroup:
    """Some users (V,), ascending, of a fresh split, for whom other users choose the weights."""

    replicate: int
    users: np.ndarray


def _winners(run: Stages, race: Decided, groups: Sequence[UserGroup]) -> list[str]:
    """For each group, the finalist that would have won without it: by the other splits, or with one
    split by the other users; of equals the one that the race ranks first.

    The blend is not compared with the winner itself, since some of the winner's mean is luck, which
    a blend with weights from other groups does not have.
    """
    finalists, n_users = race.finalists, run.split.train.n_users
    means = np.empty((len(finalists), len(groups)))
    for row, finalist in enumerate(finalists):
        if race.replicates > 1:
            of_splits = np.array(finalist.values, np.float64)
            means[row] = [np.delete(of_splits, group.replicate).mean() for group in groups]
        else:
            (values,) = load_per_user(run.folder.path, finalist.id, 1, n_users)
            means[row] = [np.nanmean(np.delete(values, group.users)) for group in groups]
    # sums of the same numbers may differ in their last bits
    level = means >= means.max(axis=0) - 1e-12
    return [finalists[row].id for row in np.argmax(level, axis=0)]


def _side_by_side(
    run: Stages, winners: Sequence[str], groups: Sequence[UserGroup], measured: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Values of the blend and of the winners on the same users, (R, U), NaN for the others."""
    replicates, n_users = groups[-1].replicate + 1, run.split.train.n_users
    known = {
        winner: load_per_user(run.folder.path, winner, replicates, n_users)
        for winner in set(winners)
    }
    mine = np.full((replicates, n_users), np.nan)
    others = np.full_like(mine, np.nan)
    for winner, group, values in zip(winners, groups, measured, strict=True):
        at = group.replicate, group.users
        mine[at], others[at] = values, known[winner][at]
    return mine, others


# --- the blend, trained ---------------------------------------------------------------------------


def train_blend(
    run: Stages,
    blend: Blended,
    what: What,
    items: CSR,
    done: Mapping[FinalTraining, bytes] = {},
) -> tuple[BlendConfig, list[bytes], dict[str, str]]:
    """The config of the blend, the weights of its members trained on `items` (U x I), side by side,
    and by member what it was trained on, as far as that is recorded (`Stages.trained_on`).

    what: `test` or `refit`, on which their seeds depend. done: weights by training on the same
    items, of members that are trained already. Raises TaskFailedError, which names the member and
    its cause, where a training failed.
    """
    trainings = [final_training(run, one.id, one.epochs, what) for one in blend.members]
    devices: dict[str, str] = {}
    found = {at: done[one] for at, one in enumerate(trainings) if one in done}
    missing = [at for at in range(len(trainings)) if at not in found]
    shared = run.cluster.put(items)
    works = [Work(refit_task, (trainings[at], shared), (trainings[at].config,)) for at in missing]
    for index, answer in on_workers(run.cluster, run.resources, works, Size.of(items)):
        member = blend.members[missing[index]].id
        if isinstance(answer, Failure):
            label = trainings[missing[index]].config.label()
            raise failed(f"its member {member} ({label}) cannot be trained on {ON[what]}", answer)
        found[missing[index]] = answer.weights
        if (device := run.trained_on(answer.device)) is not None:
            devices[member] = device
        run.display.progress(len(found), len(trainings), "members of the blend")
    config = blend_config(blend, [training.config for training in trainings], run.spec.metric)
    return config, [found[index] for index in range(len(trainings))], devices


def blend_config(blend: Blended, configs: Sequence[ModelConfig], metric: str) -> BlendConfig:
    """The config of a blend for `metric`, whose members were trained with `configs`."""
    members = (
        Member(weight=member.weight, config=config)
        for member, config in zip(blend.members, configs, strict=True)
    )
    return BlendConfig(members=tuple(members), depth=depth_of(metric))


def assembled(config: BlendConfig, weights: Sequence[bytes], seen: CSR) -> Blend:
    """The blend of trained members. weights: of each, as bytes. seen: what they were trained on."""
    members = [
        model_of(member.config).from_bytes(content)
        for member, content in zip(config.members, weights, strict=True)
    ]
    return Blend(config, members, seen)


def blend_test_task(
    config: BlendConfig,
    weights: list[bytes],
    seen: CSR,
    test: CSR,
    metrics: list[str],
    threads: int,
) -> Evaluation:
    """The blend on the test items, in a worker. weights: of each member, as bytes. seen: what the
    members were trained on.
    """
    model = assembled(config, weights, seen)
    return evaluate(model, seen, test, metrics, threads=threads, pairs=True)


def blend_on_test(
    run: Stages, blend: Blended, metrics: list[str], done: Mapping[FinalTraining, bytes]
) -> Evaluation:
    """The blend on the test items, its members trained on train + valid; `done`: see
    `train_blend`. Raises TaskFailedError where that failed.
    """
    assert run.split.test is not None
    seen = run.split.search_data()
    config, weights, _ = train_blend(run, blend, "test", seen, done)
    threads = run.resources.cpus_per_trial
    task = (config, weights, seen, run.split.test, metrics, threads)
    both = 2 * sum(map(len, weights))  # each member as bytes, and as the model made of them
    work = Work(blend_test_task, task, holds=both)
    ((_, answer),) = on_workers(run.cluster, run.resources, [work], Size.of(seen))
    if isinstance(answer, Failure):
        raise failed("its lists cannot be made", answer)
    return answer
