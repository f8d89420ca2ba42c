"""One run from its options to its result: begin or resume, run the stages, report.

The stages are in `search.stages`; this file decides what is run and where it is kept.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from recsys.data import Dataset, describe_lines
from recsys.data.lists import BLANK
from recsys.errors import ConfigError, InputError
from recsys.metrics import parse_metric
from recsys.models.base import Size
from recsys.split import Split
from search.durations import AUTO, EXPECTED
from search.machine.beat import beat
from search.machine.cluster import Cluster, resolve_device
from search.machine.cores import usable_cores
from search.machine.memory import usable_memory
from search.machine.nodes import Place
from search.machine.place import check_place, gpus_here
from search.machine.room import Room, fit_at_once
from search.machine.storage import resolve_storage
from search.machine.workers import NoWorkersError
from search.paste import command
from search.paths import INSTALLED
from search.record.events import Status, stages_of
from search.record.folder import REPORT, RunFolder, check_runs_dir, default_names, is_path
from search.record.handed import disagreement
from search.record.planned import configs_left, distinct, every, plan_more, plan_new, with_trials
from search.record.result import RESULT, refit_of, result_of, write_result
from search.record.settings import DEFAULT_SEED, Settings, settings_of
from search.record.state import RunState
from search.run.evidence import check_evidence, fit_split
from search.run.need import Left, check_memory, check_nodes, fit_memory, fit_nodes, resources_on
from search.run.opened import absolute, divide, given, read_data
from search.run.signals import EXIT_CODE, Interruption, interruptible
from search.run.warm import own_first, warmed
from search.run.weights import check_weights, fit_weights
from search.screen.display import Display
from search.space.domains import Pairs
from search.space.effect import check_up_to, idle_up_to
from search.space.load import for_gpu, load_run_spec, load_spec
from search.space.spec import SearchSpec
from search.space.strategies import SEARCHERS
from search.space.widen import widened
from search.tracking.memory import delivery_status, known_uri
from search.tracking.reach import check_name
from search.tracking.where import check_tracking_uri, default_tracking_uri, is_local_default
from search.words import counted, duration

if TYPE_CHECKING:
    from search.run.session import Session
    from search.tune.probe import Measured

DEFAULT_DATA, DEFAULT_RUNS = "ml-100k", "runs"
ALONE = "none"  # in the place of a cluster's address: on this machine
STARTS_S = 60.0  # a smaller time budget goes mostly into other things than trials
SAY_AFTER_S = 5.0  # of measuring what a trial costs


# Options that a run keeps for good, and those that may be given with --resume and --extend.
KEPT = {
    "space": "--space",
    "trials": "--trials",
    "seed": "--seed",
    "overrides": "--set",
    "prefer": "--prefer",
    "warm_start": "--warm-start",
}
CHANGEABLE = {
    "data": "--data",
    "min_rating": "--min-rating",
    "columns": "--columns",
    "time_budget": "--time-budget",
    "cpus_per_trial": "--cpus-per-trial",
    "gpus_per_trial": "--gpus-per-trial",
    "device": "--device",
    "address": "--address",
    "storage": "--storage",
    "tracking_uri": "--tracking-uri",
    "submission_sep": "--submission-sep",
    "system_metrics": "--system-metrics",
}


@dataclass(frozen=True)
class Options:
    """The options of the command line; None where one was not given. time_budget: in seconds; inf:
    no budget; `AUTO`: at most the space's own.
    """

    space: str | None = None
    data: str | None = None
    min_rating: float | None = None
    columns: dict[str, str] | None = None
    trials: int | None = None
    time_budget: float | str | None = None
    seed: int | None = None
    overrides: tuple[str, ...] = ()
    prefer: str | None = None
    warm_start: tuple[str, ...] = ()
    run: str | None = None
    runs_dir: Path | None = None
    resume: bool = False
    extend: int | None = None
    dry_run: bool = False
    cpus_per_trial: int | None = None
    gpus_per_trial: float | None = None
    device: str | None = None
    address: str | None = None
    storage: str | None = None
    tracking_uri: str | None = None
    submission_sep: str | None = None
    system_metrics: bool | None = None

    def said(self, names: Mapping[str, str]) -> dict[str, str]:
        """The options of `names` that were given, with their spelling on the command line."""
        return {n: flag for n, flag in names.items() if getattr(self, n) not in (None, ())}

    @property
    def place(self) -> Path:
        """The folder of the runs."""
        return Path(DEFAULT_RUNS) if self.runs_dir is None else self.runs_dir


def run_search(options: Options, began: float | None = None) -> int:
    """Run, resume or extend a search; returns the exit code.

    began: when the command began, by `time.monotonic`, where that was before this call: a time
    budget is counted from there.
    """
    with interruptible() as interruption:
        if began is not None:
            interruption.began = began
        try:
            code = _start(options, interruption)
        except KeyboardInterrupt:
            interruption.farewell()
            code = EXIT_CODE
        if interruption.pressed:
            # Everything is closed; an ordinary exit of Python would take another second or more.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        return code


def _start(options: Options, interruption: Interruption) -> int:
    if options.resume or options.extend is not None:
        return _resume(options, interruption)
    if options.address == ALONE:
        raise ConfigError(
            f"--address {ALONE}: is for a run that goes on (--resume, --extend); a new search uses "
            "this machine alone without it"
        )
    if options.space is None:
        raise ConfigError(f"--space is missing: name a search space ({command('spaces')})")
    if options.run is None:
        check_runs_dir(options.place)
    else:
        RunFolder.check_free(options.place, options.run)
    by_setting = {setting.partition("=")[0].strip() for setting in options.overrides}
    for flag, key, said in (
        ("--trials", "trials", options.trials),
        ("--time-budget", "time_budget", options.time_budget),
        ("--prefer", "race.prefer", options.prefer),
        ("--prefer", "race", options.prefer),
    ):
        if said is not None and key in by_setting:
            raise ConfigError(f"{flag} and --set {key}=...: give only one of them")
    gpus, device = machine_of(options, None, options.address)
    spec = load_spec(options.space, options.overrides, trials=options.trials, prefer=options.prefer)
    plan = plan_new(spec, by_option=options.trials is not None)
    spec, notes = with_trials(spec, plan.trials), list(plan.notes)
    own = spec.enqueue
    if options.warm_start:
        spec = warmed(spec, options.warm_start, options.place, notes.append)
    settings = Settings(
        data=absolute(options.data or DEFAULT_DATA),
        min_rating=options.min_rating,
        columns=options.columns,
        seed=DEFAULT_SEED if options.seed is None else options.seed,
        trials=spec.trials,
        time_budget=budget_of(options, spec.time_budget),
        cpus_per_trial=options.cpus_per_trial or 1,
        gpus_per_trial=gpus,
        device=device,
        address=options.address,
        storage=storage_of(options, None),
        tracking_uri=store_of(options, None),
        submission_sep=options.submission_sep or BLANK,
        settles=settles_of(options, spec, before=False),
        has_default=bool(own),
        system_metrics=bool(options.system_metrics),
    )
    _check_separator(spec, options)
    check_up_to(options.overrides, settings.time_budget, settles=settings.settles)
    notes += idle_up_to(spec, settings.time_budget, settles=settings.settles)
    return _run(spec, settings, options, interruption, None, tuple(notes), own=own)


def machine_of(options: Options, before: Settings | None, address: str | None) -> tuple[float, str]:
    """(GPUs of a trial, device) of a run. before: the settings it had; None for a new run. address:
    of the cluster, if any. Raises ConfigError for options that contradict each other.
    """
    gpus = before.gpus_per_trial if before is not None else 0.0
    device = before.device if before is not None else "auto"
    if options.gpus_per_trial is not None:
        gpus, device = options.gpus_per_trial, "auto"
    if options.device is not None:
        device = options.device
    if options.device == "cpu":
        if options.gpus_per_trial:
            raise ConfigError(
                f"--gpus-per-trial {options.gpus_per_trial:g}: has no effect with --device cpu: "
                "leave out one of them"
            )
        gpus = 0.0
    return gpus, resolve_device(device, gpus, address)


def budget_of(options: Options, before: float | None) -> float | None:
    """Seconds of the time budget, None for no limit. before: those it had so far."""
    if options.time_budget is None or isinstance(options.time_budget, str):
        return before
    return options.time_budget if math.isfinite(options.time_budget) else None


def settles_of(options: Options, spec: SearchSpec, *, before: bool) -> bool:
    """Whether the search decides itself when to end. before: whether it did so far. Raises
    ConfigError where it has a fixed number of trials to make.
    """
    if options.time_budget != AUTO:
        return before and options.time_budget is None
    if options.extend is not None:
        raise ConfigError(
            f"--time-budget {AUTO}: has no effect with --extend {options.extend}, which fixes the "
            "number of trials: leave out one of them"
        )
    if spec.is_table or SEARCHERS[spec.searcher].whole:
        why = "a table" if spec.is_table else f"searcher {spec.searcher}"
        raise ConfigError(
            f"--time-budget {AUTO}: {why} makes all its trials; expected {EXPECTED}, or none"
        )
    return True


def store_of(options: Options, before: str | None) -> str | None:
    """The tracking store, None for that of the checkout. before: the run's so far. Raises
    ConfigError where it can't be used.

    The local store of an installation is given as a path, so that a run can be resumed from any
    folder. A server that is named now is asked whether it answers to that name.
    """
    uri = options.tracking_uri or before
    if uri is not None and not is_local_default(uri):
        kept = check_tracking_uri(uri)
        if options.tracking_uri is not None:
            check_name(kept)
        return kept
    local = check_tracking_uri(default_tracking_uri())
    return local if INSTALLED else None


def storage_of(options: Options, before: str | None) -> str | None:
    """Ray's storage as an absolute path or a URI, None for the run folder. before: the run's so
    far. Raises ConfigError where it is neither.
    """
    return before if options.storage is None else resolve_storage(options.storage)


def _resume(options: Options, interruption: Interruption) -> int:
    """Resume, or extend, an existing run."""
    if options.run is None:
        raise ConfigError("--run is missing: name the run, e.g. --resume --run NAME")
    if options.resume and options.extend is not None:
        raise ConfigError("--extend resumes the run too: leave out --resume")
    kept = options.said(KEPT)
    if options.extend is not None:
        kept.pop("overrides", None)  # a range may be widened: see `widened`
    if kept:
        raise ConfigError(
            f"leave out {', '.join(kept.values())}: --resume and --extend keep the space, the "
            "seed and the trials that the run began with (more trials: --extend N)"
        )
    if options.runs_dir is not None and is_path(options.run):
        raise ConfigError(f"--run {options.run} is a path: leave out --runs-dir, or give the name")
    folder = RunFolder.open(options.place, options.run, lock=True)
    with folder:
        state = folder.state()
        spec = load_run_spec(folder.path)
        restored = options.resume and not options.dry_run and _restore(folder, state)
        if (of := refit_of(state)) is not None:
            if restored:
                _say_unused(options)
                return 0
            raise ConfigError(
                f"--run {folder.name}: this run is the winner of {of.run} trained again: "
                "there is no search to resume or extend"
            )
        if options.overrides:
            spec = widened(spec, options.overrides)
        before = settings_of(state)
        plan = plan_more(spec, state, before.trials, options.extend, wider=bool(options.overrides))
        more = options.extend is not None and plan.trials > len(state.trials)
        if options.overrides and not more:
            raise ConfigError("--set: has no effect: there are no more trials to make")
        strange = disagreement(folder.path, state)
        if state.status == Status.DONE and not more and strange is None:
            return _finished_already(folder, options, spec, state)
        address = before.address if options.address is None else options.address
        address = None if address == ALONE else address
        gpus, device = machine_of(options, before, address)
        settings = replace(
            before,
            data=before.data if options.data is None else given(options.data),
            min_rating=before.min_rating if options.min_rating is None else options.min_rating,
            columns=before.columns if options.columns is None else options.columns,
            trials=plan.trials,
            time_budget=budget_of(options, None if more else before.time_budget),
            cpus_per_trial=options.cpus_per_trial or before.cpus_per_trial,
            gpus_per_trial=gpus,
            device=device,
            address=address,
            storage=storage_of(options, before.storage),
            tracking_uri=store_of(options, before.tracking_uri),
            submission_sep=options.submission_sep or before.submission_sep,
            settles=settles_of(options, spec, before=before.settles and not more),
            system_metrics=before.system_metrics or bool(options.system_metrics),
        )
        _check_separator(spec, options)
        notes = plan.notes
        if options.overrides:
            notes += (f"note: the space of the new trials: {', '.join(options.overrides)}",)
        if strange is not None:
            notes += (f"note: {strange}: it will be made again",)
        if more and options.time_budget is None and before.time_budget is not None:
            notes += (
                f"note: the time budget of {duration(before.time_budget)} was that of the "
                "earlier trials: these have none (--time-budget gives them one)",
            )
        spec = with_trials(spec, plan.trials)
        return _run(spec, settings, options, interruption, folder, notes, extends=more)


def _restore(folder: RunFolder, state: RunState) -> bool:
    """Make a lost result.json of a finished run again, and its report; returns whether it was lost.

    That needs neither the data nor Ray: the journal has it all.
    """
    if state.status != Status.DONE:
        return False  # the session that follows writes it at its end
    try:
        result_of(folder.path, state)
        return False
    except InputError:
        from search.report.page import render_report
        from search.stages.result import remade

        write_result(folder, remade(folder))
    folder.write_tables(state)
    folder.write(REPORT, render_report(folder.path))
    print(f"{folder.path / RESULT} was lost, and is made again from the journal")  # noqa: T201
    return True


def _finished_already(
    folder: RunFolder, options: Options, spec: SearchSpec, state: RunState
) -> int:
    """Tell the user that there is nothing left to do, and deliver what MLflow lacks."""
    more = (
        f"more trials: {command('--run', folder.path, '--extend', '20')}"
        if configs_left(spec, state)
        else f"{every(distinct(t.config for t in state.trials.values()))} of the space was tried"
    )
    print(  # noqa: T201
        f"run {folder.name} is finished, nothing is left to do: see {folder.path / REPORT}; {more}"
    )
    _say_unused(options)
    status = delivery_status(folder.path, known_uri(folder.path))
    if not status.delivered:
        print(status.sentence())  # noqa: T201
    return 0


def _say_unused(options: Options) -> None:
    if unused := options.said(CHANGEABLE):
        print(f"note: {', '.join(unused.values())} had no effect: nothing ran")  # noqa: T201


def _check_separator(spec: SearchSpec, options: Options) -> None:
    if options.submission_sep is not None and spec.is_table:
        raise ConfigError(
            "--submission-sep: has no effect: this space makes a table and no submission"
        )


def _check_data(dataset: Dataset, spec: SearchSpec) -> None:
    """Refuse a space that does not fit the data. Raises ConfigError."""
    n_items = dataset.interactions.n_items
    deepest = parse_metric(spec.metric)
    k = 0 if spec.is_table else spec.k  # a table writes no submission
    if deepest.k > n_items or k > n_items:
        options = [
            f"--set k={n_items}" if k > n_items else "",
            f"--set metric={deepest.kind}@{n_items}" if deepest.k > n_items else "",
        ]
        asked = f"for k: {k} items a user, measured by" if k else "for"
        raise ConfigError(
            f"{dataset.interactions.name}: has only {counted(n_items, 'item')}, and the space "
            f"asks {asked} {spec.metric}: expected at most "
            f"{n_items}, {' '.join(filter(None, options))}"
        )
    if not spec.is_table and spec.leaky():
        raise ConfigError(
            "negatives_exclude: all leaks the validation items, so nothing it finds may win; "
            "add --set purpose=table to compare its numbers with the test"
        )


def _run(
    spec: SearchSpec,
    settings: Settings,
    options: Options,
    interruption: Interruption,
    folder: RunFolder | None,
    notes: tuple[str, ...] = (),
    *,
    extends: bool = False,
    own: tuple[Pairs, ...] = (),
) -> int:
    """Everything from reading the data on, for a new run (folder: None) or one that is resumed.

    notes: lines for the user about the trials to come. extends: whether trials are added to those
    that the run had planned or made. own: the listed configs of a new run that are not those of a
    warm start.
    """
    display = Display(
        spec.name,
        settings.data,
        spec.trials,
        metric=spec.metric,
        leaky=spec.leaky(),
        stages=stages_of(spec.is_table, bool(spec.blend)),
    )
    display.note(f"reading {settings.data}")
    run = None if folder is None else folder.name
    dataset = read_data(settings, run, display.note, values=spec.weighs())
    display.data = dataset.interactions.name
    for line in describe_lines(dataset):
        display.note(line)
    _check_data(dataset, spec)
    if run is not None:
        check_weights(run, spec.weighs(), dataset.interactions)
    else:
        spec = fit_weights(spec, dataset.interactions, display.note)
        spec = fit_split(spec, dataset, display.note)
        for line in check_evidence(dataset, spec):
            display.note(line)
    opened = divide(dataset, spec, settings, run)
    split, settings = opened.split, opened.settings
    display.note(f"split: {split.name} (digest {split.digest})")
    if folder is None and settings.device != "cpu":
        spec, batch = for_gpu(spec, split.train.nnz)
        if batch is not None:
            notes += (f"note: batches of {batch:,} on a GPU, not one positive at a time",)
    for line in notes:
        display.note(line)
    place = check_place(settings, display.note)
    size = Size.of(split.train)
    if folder is None:
        spec, has_default = own_first(_fit(spec, settings, size, place, display.note), own)
        settings = replace(settings, has_default=has_default)
    else:
        left = Left.of(folder.name, spec, folder.state(), extends=extends)
        _check_left(left, settings, size, place, display.note, widened=bool(options.overrides))
    if options.dry_run:
        return _dry_run(spec, settings, split, display, folder, place)
    from search.run.session import Session

    if folder is not None:
        return _drive(
            Session(spec, settings, dataset, split, folder, display, interruption, place, extends)
        )
    if options.run is not None:
        folder = RunFolder.create(options.place, options.run)
    else:
        folder = RunFolder.create_named(
            options.place, default_names(spec.name, dataset.interactions.name)
        )
    with folder:
        return _drive(Session(spec, settings, dataset, split, folder, display, interruption, place))


def _fit(
    spec: SearchSpec, settings: Settings, size: Size, place: Place, note: Callable[[str], None]
) -> SearchSpec:
    """The space without methods that there is no memory for. Raises ConfigError if none is left."""
    threads = settings.cpus_per_trial
    if settings.address:  # the memory of nodes that are still to join is unknown
        most = place.memory
        return spec if most is None else fit_nodes(spec, size, most, threads, note, place.among)
    return fit_memory(spec, size, usable_memory(), _at_once_here(settings), threads, note)


def _check_left(
    left: Left,
    settings: Settings,
    size: Size,
    place: Place,
    note: Callable[[str], None],
    *,
    widened: bool,
) -> None:
    """Refuse to go on with a run where there is no memory for what it may still train (`left`): its
    space cannot become smaller any more. Raises ConfigError.
    """
    threads = settings.cpus_per_trial
    if not settings.address:
        check_memory(left, size, usable_memory(), _at_once_here(settings), threads, note)
    elif place.memory is not None:
        check_nodes(left, size, place.memory, threads, place.among, widened=widened)


def _at_once_here(settings: Settings) -> int:
    """How many trials this machine runs at once."""
    here = Room(usable_cores(), gpus_here(settings.gpus_per_trial))
    trial = Room(settings.cpus_per_trial, settings.gpus_per_trial)
    return max(1, fit_at_once([here], trial))


def _drive(session: Session) -> int:
    """Run a session; a new run that fails before its first line in the journal leaves no folder."""
    session.display.run = session.folder.name
    try:
        return session.drive()
    except BaseException:
        if not session.folder.has_begun():
            session.interruption.last_words = "interrupted before the run began"
            session.folder.discard()
        raise


def _dry_run(
    spec: SearchSpec,
    settings: Settings,
    split: Split,
    display: Display,
    folder: RunFolder | None,
    place: Place,
) -> int:
    """Tell the user what would run, now that all was read and checked, and what a trial costs."""
    from search.run.estimate import counted_words
    from search.stages.rivals import no_linear
    from search.tune.probe import data_of, measure

    done = 0 if folder is None else sum(t.finished for t in folder.state().trials.values())
    left = max(0, spec.trials - done)
    trials = counted(left, "more trial" if done else "trial")

    def say(passed: float) -> None:
        display.note(
            f"measuring what a trial costs, {passed:.0f} s so far; kernels that are not compiled "
            "yet come first"
        )

    try:
        with Cluster(settings.address, note=display.note, place=place) as cluster:
            resources = resources_on(cluster, spec, settings, Size.of(split.train), place)
            cluster.check_workers()
            data = data_of(split, spec.metric, resources.cpus_per_trial, settings.device)
            with beat(say, SAY_AFTER_S):
                cost = measure(cluster, resources, spec, data, settings.time_budget, asked=True)
    except NoWorkersError as error:
        raise ConfigError(str(error)) from None
    lines = (
        [counted_words(spec, Size.of(split.train), resources.cpus_per_trial)]
        if cost is None
        else [cost.words()]
    )
    if not done:
        lines += _how_long(spec, settings, cost)
    if (missing := no_linear(split, resources, settings.time_budget)) is not None:
        lines.append(missing)
    for line in lines:
        display.note(line)
    display.note(
        f"{trials} of at most {counted(spec.max_epochs, 'epoch')}, {resources.concurrent} at a "
        f"time on {counted(resources.cores, 'core')} ({settings.device}); nothing was started"
    )
    return 0


def _how_long(spec: SearchSpec, settings: Settings, cost: Measured | None) -> list[str]:
    """How long a new search will take, as lines. cost: what its epochs cost; None where that was
    not measured.
    """
    from search.run.estimate import Told

    budget = settings.time_budget
    pace = None if cost is None or spec.is_table else cost.pace()
    lines = [] if pace is None or cost is None else cost.pace_words(pace)
    if cost is not None and not spec.is_table:
        told = Told(spec, cost.probed, cost.full.size, cost.users, cost.concurrent)
        lines.append(told.whole(budget))
    if pace is None and budget is not None and budget < STARTS_S:
        # most of a short budget goes into starting workers and into the stages after the trials
        lines.append(
            f"the time budget of {duration(budget)} may end before all trials do: it takes seconds "
            "until workers have started, and the stages after the trials need some as well"
        )
    return lines
