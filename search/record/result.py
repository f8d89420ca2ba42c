"""result.json, and what the race and the test found: typed, and written and read only here.

Every field has a default, because a run that was interrupted or failed has a result too, and runs
of earlier versions lack some fields. `docs/result.md` is made from the descriptions below.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from recsys.errors import InputError
from recsys.models import leaky
from search.paste import command
from search.record.events import Status
from search.record.folder import RunFolder
from search.record.journal import finite
from search.record.state import RunState
from search.space.kept import Purpose

RESULT = "result.json"
VERSION = 2  # counts up when a field changes its meaning; the first files have no version

Number = float | None  # None where there is no number: JSON has no NaN
Interval = tuple[Number, Number]


class ResultPart(BaseModel):
    """A part of result.json. It is frozen; fields that only later versions know are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    def plain(self) -> dict[str, Any]:
        """As values that JSON has (None for NaN), without the fields that were never given."""
        plain: dict[str, Any] = finite(self.model_dump(mode="json", exclude_unset=True))
        return plain


def _about(text: str, default: Any = None) -> Any:
    return Field(default, description=text)


class Comparison(ResultPart):
    """The winner against one rival, over the same users."""

    against: str = _about("trial or baseline", "")
    name: str = _about("the rival as it is written in a sentence", "")
    gain: Number = _about("mean difference of the metric, above 0 where the winner is better")
    ci: Interval | None = _about("95% interval of the gain")
    p: Number = _about("p value, corrected for the number of rivals")
    proven: bool = _about("whether the difference is more than chance", False)
    users: int | None = _about("users who were compared")
    words: str = _about("the verdict as a sentence", "")

    @property
    def measured(self) -> tuple[float, float, float] | None:
        """The gain and the ends of its interval; None unless all are known."""
        known = [v for v in (self.gain, *(self.ci or ())) if v is not None and math.isfinite(v)]
        return (known[0], known[1], known[2]) if len(known) == 3 else None


# A smaller loss than this share of the value does not count: the models are as good as equal.
EQUAL_WITHIN = 0.01


def succeeds(found: Comparison, before: float | None) -> bool:
    """Whether a model is at least as good as the one in use: its mean is not lower, or its whole
    interval says that it loses less than `EQUAL_WITHIN` of `before`, the value of the one in use.

    "Not proven worse" would not do: with few users nothing is proven, and a worse model would pass.
    """
    if (known := found.measured) is None:
        return False
    gain, low, _ = known
    return gain >= 0 or low > -EQUAL_WITHIN * (before or 0.0)


class Finalist(ResultPart):
    """A finalist of the race."""

    id: str = _about("its trial", "")
    mean: Number = _about("mean of `values`, which decides")
    values: tuple[Number, ...] = _about(
        "the metric on each fresh split, each half of the users at the other half's best epoch",
        (),
    )
    best_epochs: tuple[int, ...] = _about(
        "the best epoch on each, by all users who were evaluated after it", ()
    )
    search_value: Number = _about("its value in the search")


class Race(ResultPart):
    """The race of the best trials on fresh splits."""

    replicates: int = _about("fresh splits; 0 where no race was run", 0)
    finalists: tuple[Finalist, ...] = _about("best mean first", ())
    comparisons: tuple[Comparison, ...] = _about(
        "the winner against its rivals, as in `test_comparisons`", ()
    )
    winner_is_default: bool = _about(
        "whether the winner is the first config listed by the space itself", False
    )


class Remarked(ResultPart):
    """A part whose further keys are remarks, such as a tuned value."""

    model_config = ConfigDict(frozen=True, extra="allow")

    @property
    def remarks(self) -> dict[str, Any]:
        """The further keys, as they are in the file."""
        return self.model_extra or {}


class Baseline(Remarked):
    """A simple model to compare the winner with."""

    valid: Number = _about("the metric on validation, fitted on train")
    test: Number = _about("the metric on test, fitted on train and validation")
    skipped: str | None = _about("why it has no value on test")


class Counts(ResultPart):
    """Trials by how they ended."""

    completed: int = _about("trained to their end", 0)
    pruned: int = _about("stopped early", 0)
    failed: int = _about("raised, or lost their worker", 0)


class BlendMember(ResultPart):
    """One finalist in the blend."""

    id: str = _about("its trial", "")
    label: str = _about(
        "its method, with the parameters that say most of it; empty in runs of earlier versions", ""
    )
    weight: float = _about("share in the sum", 0.0)
    mean: Number = _about("what it reached alone: mean over the fresh splits")
    epochs: int = _about("epochs that it is trained for", 1)


class BlendResult(ResultPart):
    """The best finalists added up."""

    members: tuple[BlendMember, ...] = _about("largest weight first", ())
    mean: Number = _about("mean over the fresh splits, each under weights that others chose")
    winner_mean: Number = _about(
        "mean, over the same users, of the finalists that won on the other splits"
    )
    comparison: Comparison | None = _about("the blend against these finalists on the fresh splits")
    handed_over: bool = _about(
        "whether `model/` and the submission come from it: it is proven better, and could be "
        "trained",
        False,
    )
    failed: str | None = _about(
        "why the winner alone is handed over although the blend is proven better: what of it could "
        "not be trained or tested, and why"
    )
    test: Number = _about("the blend on the test items, in the run's metric")
    test_ci: Interval | None = _about("95% interval of `test` over users")
    test_metrics: Mapping[str, Number] | None = _about("the blend on the test items, every metric")
    test_comparisons: tuple[Comparison, ...] = _about("against the winner and the baselines", ())


class Beside(ResultPart):
    """A rival in a group of users or items."""

    value: Number = _about("the rival's value there")
    gain: Number = _about("lead of the model over the rival, below 0 where the rival is better")
    ci: Interval | None = _about("95% interval of the lead over users")
    proven: bool = _about(
        "whether the lead is more than chance, corrected for all rivals and groups", False
    )


class Group(ResultPart):
    """Users with about as many items, or items with about as many users, by train + validation."""

    low: int = _about("fewest items of any of its users (`by_item`: users of any of its items)", 0)
    high: int = _about("most items of any of its users (`by_item`: users of any of its items)", 0)
    users: int = _about("users with such test items", 0)
    items: int | None = _about("items with so many users, tested or not; only `by_item`")
    pairs: int = _about("test items of these users, or how often these items are test items", 0)
    value: Number = _about(
        "`by_user`: mean of the metric; `by_item`: share of the test items that are in the lists"
    )
    ci: Interval | None = _about("95% interval of `value` over users")
    rivals: dict[str, Beside] = _about("the rivals there, by name", {})


class Groups(ResultPart):
    """How well the model serves groups of users and items on the test items."""

    model: str = _about("`winner`, or `blend` where that is handed over", "winner")
    k: int | None = _about("length of the lists of `by_item`: as many places as the metric counts")
    by_user: tuple[Group, ...] = _about("users by how many items they have, fewest first", ())
    by_item: tuple[Group, ...] = _about(
        "items by how many users they have, fewest first; fields as in `by_user`", ()
    )


class Newcomers(ResultPart):
    """Users and items first seen in a part of the data that begins at a date."""

    part: str = _about("`test` or `validation`", "")
    since: str = _about("the date, or moment, at which it begins", "")
    users: int = _about("users with items in it", 0)
    new_users: int = _about(
        "of those, users without an earlier item, who get what was popular until then", 0
    )
    pairs: int = _about("interactions in it", 0)
    new_pairs: int = _about("of those, with items that nobody had before", 0)
    new_items: int = _about("how many such items, which no model can recommend", 0)


class Handed(ResultPart):
    """Digests of what the refit handed over, with which the files of the run are compared."""

    trial: str = _about("the winner that was trained (with others, where a blend won)", "")
    weights: str = _about("SHA-256 of the weights in `model/`", "")
    config: str = _about("SHA-256 of `model/config.json`", "")
    ids: str = _about("SHA-256 of `model/ids.json`; none in runs of earlier versions", "")
    seen: str = _about("SHA-256 of `model/seen.npz`, likewise", "")
    submission: str = _about("SHA-256 of `submission.csv`", "")


class RefitOf(ResultPart):
    """The run whose winner was trained again on newer data (`refit`), and how the two compare."""

    run: str = _about("name of that run", "")
    uid: str = _about("the id of that run, as in MLflow", "")
    model: str = _about("name of its model in MLflow, of which this one is a new version", "")
    weights: str = _about("digest of the weights that it had handed over", "")
    data: str = _about("name of the data it was trained on", "")
    valid: Number = _about("its value on its own validation items")
    comparison: Comparison | None = _about("this model against that one, on items held out here")
    before: Number = _about("that model's value on these; none in runs of earlier versions")
    blend_failed: str | None = _about("why the winner alone was trained again, not the blend")

    @property
    def stands(self) -> bool:
        """Whether the two were compared, and this model is at least as good."""
        return self.comparison is not None and succeeds(self.comparison, self.before)


class OfValue(ResultPart):
    """The honest trials that have one value of a parameter."""

    trials: int = _about("how many", 0)
    best: Number = _about("the best of their values on validation")
    median: Number = _about("the median of these")


class Deciding(ResultPart):
    """A parameter that decides which others exist (such as the method), with what trials reached
    for each of its values.
    """

    parameter: str = _about("its name", "")
    winner: str = _about("its value in `best_trial`", "")
    values: Mapping[str, OfValue] = _about("by its value, the one with the best trial first", {})


class HandedOver(NamedTuple):
    """What is in `model/` and the submission, and its test.

    name: `blend of 3`; None for the winner, which has the name of its trial. test, ci: in the run's
    metric, with the 95% interval over users; None where it was not measured.
    """

    name: str | None
    test: Number
    ci: Interval | None


class RunResult(ResultPart):
    """The summary of a run."""

    version: int = _about("version of this format; 0 in files without one", 0)
    status: Status = _about("`done`, `failed`, `interrupted`, or `running`", Status.RUNNING)
    run: str | None = _about("name of the run")
    purpose: str | None = _about("`table`: configs compared, no winner")
    data: str | None = _about("name of the data set")
    metric: str | None = _about("the metric that is maximised, such as `map@50`")
    valid: Number = _about("value of `best_trial` on validation, in the search")
    test: Number = _about("the winner on the test items, in the run's metric")
    test_ci: Interval | None = _about("95% interval of `test` over users")
    test_metrics: Mapping[str, Number] | None = _about("the winner on the test items, every metric")
    test_users: int | None = _about("users with test items")
    test_comparisons: tuple[Comparison, ...] = _about("the winner against the baselines", ())
    groups: Groups | None = _about(
        "the test by how many items a user has, and by how many users an item has; none in runs of "
        "earlier versions"
    )
    deciding: Deciding | None = _about("the parameter that is looked at first, where there is one")
    importance: dict[str, float] = _about(
        "how much each parameter matters, within `deciding.winner` where there is that: the part "
        "of the variance of values that is left where all others are fixed, as far as the trials "
        "tell. They need not add up to 1. Until version 1 another measure, over all trials",
        {},
    )
    importance_ci: dict[str, Interval] = _about("90% interval of it, given the trials", {})
    test_reads: int | None = _about("how often the test items were read")
    split: str | None = _about("how data was held out")
    split_order: str | None = _about("the order it was held out by: `random`, `latest` or `time`")
    split_digest: str | None = _about("changes with any held-out item")
    newcomers: tuple[Newcomers, ...] = _about(
        "for a split by time: users and items first seen after its dates", ()
    )
    negatives_exclude: str | tuple[str, ...] | None = _about(
        "the trials' `negatives_exclude`, a list if they differ"
    )
    leaky: bool = _about("whether any trial's training knew which items are held out", False)
    baselines: dict[str, Baseline] = _about("simple models on the same items, by name", {})
    best_trial: str | None = _about("the winner, or the best trial so far")
    best_config: dict[str, Any] | None = _about(
        "its training config in the search; `best_epoch` may be later, where it trained longer in "
        "the race"
    )
    best_params: dict[str, Any] | None = _about("its parameters of the space")
    best_epoch: int | None = _about("epochs that the final model is trained for")
    trials: Counts = _about("trials by how they ended", Counts())
    configs: int | None = _about("different configs among the trials")
    configs_left: bool | None = _about("whether a further trial would find a new config")
    wall_s: Number = _about("seconds of all sessions")
    busy_fraction: Number = _about("share of the cores' time spent in training and evaluation")
    race: Race = _about("the race of the finalists", Race())
    blend: BlendResult | None = _about("the finalists added up, where the space asks for it")
    handed: Handed | None = _about("digests of the files that were handed over")
    refit_of: RefitOf | None = _about("for a `refit`: what was trained again")
    split_orders: Mapping[str, tuple[Number, Number]] | None = _about(
        "for data with times: the winner's config and popularity on test items of each order, over "
        "users with a history; for `split_order` as measured in the test"
    )
    split_orders_skipped: str | None = _about("why `split_orders` was not measured")
    seed: int | None = _about("seed of the run")

    @property
    def handed_blend(self) -> BlendResult | None:
        """The blend, where it is handed over in the winner's place."""
        return self.blend if self.blend is not None and self.blend.handed_over else None

    @property
    def handed_over(self) -> HandedOver:
        """The blend, where it is handed over in the winner's place; otherwise the winner."""
        if (blend := self.handed_blend) is None:
            return HandedOver(None, self.test, self.test_ci)
        return HandedOver(f"blend of {len(blend.members)}", blend.test, blend.test_ci)

    @model_validator(mode="before")
    @classmethod
    def _of_before(cls, said: Any) -> Any:
        """Earlier versions did not say `leaky`, but had one way to leak, which they named."""
        if not isinstance(said, dict) or "leaky" in said or "negatives_exclude" not in said:
            return said
        known = said["negatives_exclude"]
        words = known if isinstance(known, list | tuple) else (known,)
        return said | {"leaky": any(leaky({"negatives_exclude": word}) for word in words)}

    @property
    def won_by_leak(self) -> bool:
        """Whether the winner's training knew held-out items, and it therefore does not count as a
        winner; where no config is known to have won, whether any trial's training did.
        """
        return self.leaky if self.best_config is None else leaky(self.best_config)

    @property
    def is_table(self) -> bool:
        """Whether the run compared configs, with a test value for each and no winner."""
        return self.purpose == Purpose.TABLE

    @property
    def may_extend(self) -> bool:
        """Whether more trials would find an untried config, as far as is known."""
        return self.configs_left is not False


def write_result(folder: RunFolder, result: RunResult) -> None:
    """Write result.json of a run."""
    folder.write_json(RESULT, result.plain())


def read_result(run_dir: Path) -> RunResult | None:
    """result.json of a run; None where there is none yet. Raises InputError if it is damaged."""
    path = run_dir / RESULT
    if not path.is_file():
        return None
    again = _again(run_dir)
    try:
        return RunResult.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise InputError(f"{path}: {where or 'content'}: {first['msg']}: {again}") from None
    except (ValueError, OSError, RecursionError) as error:
        raise InputError(f"{path}: not readable as JSON ({error}): {again}") from None


def result_of(run_dir: Path, state: RunState) -> RunResult | None:
    """The same; also raises InputError where a finished run has none, since it was lost."""
    found = read_result(run_dir)
    if found is None and state.status == Status.DONE:
        raise InputError(
            f"{run_dir / RESULT}: is missing, and the run is finished: {_again(run_dir)}"
        )
    return found


def _again(run_dir: Path) -> str:
    return f"`{command('--resume', '--run', run_dir)}` makes it again"


# --- what the stages leave in the journal ---------------------------------------------------------


class SearchEnd(StrEnum):
    """Why a search ended: all trials made, no untried config left in the space, time is up, or
    further trials would have gained too little.
    """

    TRIALS = "trials"
    SPACE = "space"
    TIME = "time"
    SETTLED = "settled"


class Searched(ResultPart):
    """How the search ended; the data of its stage. planned: how many trials it was to make.

    Further keys count the trials in each state; the journal's trials give the same counts.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    stopped_by: SearchEnd | None = None
    planned: int | None = None


class Decided(ResultPart):
    """What the race decided; the data of its stage.

    winner: its trial. epochs: how many it gets in a training without validation. replicates: fresh
    splits. is_default: whether the winner is the first config that the space itself lists.
    """

    winner: str
    epochs: int
    replicates: int = 0
    finalists: tuple[Finalist, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    is_default: bool = False


class Blended(ResultPart):
    """What became of the blend; the data of its stage. skipped: why there is none. values: of each
    fresh split. Other fields are as in `BlendResult`.

    In the journal `handed_over` says whether it is to be, and `failed` stands in the data of the
    stage that could not do it; `blended` puts both together.
    """

    skipped: str | None = None
    members: tuple[BlendMember, ...] = ()
    values: tuple[Number, ...] = ()
    mean: Number = None
    winner_mean: Number = None
    comparison: Comparison | None = None
    handed_over: bool = False
    failed: str | None = None


class BlendTested(ResultPart):
    """The blend on the test items."""

    values: Mapping[str, Number]
    ci: Interval
    comparisons: tuple[Comparison, ...]


class RivalTested(Remarked):
    """A rival of the winner: every metric on validation and test, fitted as a `Baseline` is.

    skipped: why it has no values on test.
    """

    valid: Mapping[str, Number] | None = None
    test: Mapping[str, Number] | None = None
    skipped: str | None = None

    def baseline(self, metric: str) -> Baseline:
        """The same in a single metric."""
        both = {"valid": self.valid, "test": self.test}
        known: dict[str, Any] = {k: v[metric] for k, v in both.items() if v is not None}
        if self.skipped is not None:
            known["skipped"] = self.skipped
        return Baseline(**known, **self.remarks)


class WithHistory(ResultPart):
    """The run's metric on the test, over the users who have a history. A test that begins at a date
    has others too, so this is what can be compared with tests of other orders.
    """

    users: int
    winner: Number
    rivals: dict[str, Number] = {}


class Tested(ResultPart):
    """What the test showed; the data of its stage. device: that the winner was trained on, where
    that was for the worker to choose. blend_failed: why a blend that is proven better could not be
    tested; the winner alone is handed over then. groups: of what is to be handed over;
    winner_groups: of the winner, where that is a blend.
    """

    skipped: str | None = None
    comparisons: tuple[Comparison, ...] = ()
    values: Mapping[str, Number] | None = None
    ci: Interval | None = None
    users: int | None = None
    baselines: dict[str, RivalTested] = {}
    blend: BlendTested | None = None
    seconds: Number = None
    device: str | None = None
    groups: Groups | None = None
    with_history: WithHistory | None = None
    blend_failed: str | None = None
    winner_groups: Groups | None = None


class Refitted(ResultPart):
    """What was handed over; the data of its stage.

    rows, k: rows of the submission, and items in each. separator: between these items. Runs of
    earlier versions have no separator (it was a blank) and no digests. of: the run whose winner was
    trained again, where there was no search. orders, orders_skipped: `split_orders` and
    `split_orders_skipped` of the result. device: that the model was trained on, where that was for
    the worker to choose; devices: of a blend, those of its members, by their trials. blend_failed:
    why the winner alone was handed over, where the blend that was to be could not be trained.
    """

    rows: int | None = None
    k: int | None = None
    separator: str = " "
    epochs: int | None = None
    seconds: Number = None
    device: str | None = None
    devices: Mapping[str, str] | None = None
    handed: Handed | None = None
    of: RefitOf | None = None
    orders: Mapping[str, tuple[Number, Number]] | None = None
    orders_skipped: str | None = None
    blend_failed: str | None = None


def searched(state: RunState) -> Searched | None:
    """How the search ended, if it is done."""
    if not state.stage_done("search"):
        return None
    return Searched.model_validate(state.stages["search"].data)


def decided(state: RunState) -> Decided | None:
    """What the race decided, if it is done."""
    return Decided.model_validate(state.stages["race"].data) if state.stage_done("race") else None


def blended(state: RunState) -> Blended | None:
    """What became of the blend, where there is one; not handed over where a later stage found that
    it cannot be.
    """
    if not state.stage_done("blend"):
        return None
    found = Blended.model_validate(state.stages["blend"].data)
    if not found.members:
        return None
    later = (tested(state), refitted(state))
    failed = next((one.blend_failed for one in later if one and one.blend_failed), None)
    if failed is None or not found.handed_over:
        return found
    return found.model_copy(update={"handed_over": False, "failed": failed})


def tested(state: RunState) -> Tested | None:
    """What the test showed, if it is done."""
    return Tested.model_validate(state.stages["test"].data) if state.stage_done("test") else None


def refitted(state: RunState) -> Refitted | None:
    """What was handed over, if it is done."""
    return (
        Refitted.model_validate(state.stages["refit"].data) if state.stage_done("refit") else None
    )


def refit_of(state: RunState) -> RefitOf | None:
    """The run that was trained again; None for a search."""
    found = refitted(state)
    return None if found is None else found.of


# --- docs/result.md -------------------------------------------------------------------------------

_INSIDE: Mapping[str, tuple[str, type[ResultPart]]] = {
    "test_comparisons": ("test_comparisons[].", Comparison),
    "groups": ("groups.", Groups),
    "groups.by_user": ("groups.by_user[].", Group),
    "groups.by_user[].rivals": ("groups.by_user[].rivals.NAME.", Beside),
    "deciding": ("deciding.", Deciding),
    "deciding.values": ("deciding.values.VALUE.", OfValue),
    "newcomers": ("newcomers[].", Newcomers),
    "baselines": ("baselines.NAME.", Baseline),
    "trials": ("trials.", Counts),
    "race": ("race.", Race),
    "race.finalists": ("race.finalists[].", Finalist),
    "blend": ("blend.", BlendResult),
    "blend.members": ("blend.members[].", BlendMember),
    "handed": ("handed.", Handed),
    "refit_of": ("refit_of.", RefitOf),
}


def fields_table() -> str:
    """Every field of result.json and its meaning, as a table in Markdown."""
    return "\n".join(["| field | meaning |", "|---|---|", *_rows(RunResult, "")]) + "\n"


def _rows(part: type[ResultPart], prefix: str) -> Iterator[str]:
    for name, field in part.model_fields.items():
        yield f"| `{prefix}{name}` | {field.description} |"
        if (inner := _INSIDE.get(prefix + name)) is not None:
            yield from _rows(inner[1], inner[0])
