"""The winner of a run, trained on new data: what is kept of it, and how the two are compared.

What was learned is kept: the config, its number of epochs, the members and weights of a blend. The
split, the test and the model are those of the new data. Whether the new data help is measured: the
same config is also trained on the earlier data, without the items that are held out of the new
data, and both models are evaluated on these items.

Shapes: U users and I items of the new data, B users of a block.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

import numpy as np

from recsys.data import Dataset, describe_lines
from recsys.earlier import Earlier, Matched
from recsys.errors import ConfigError, DivergedError, InputError
from recsys.evaluation import Evaluation, evaluate
from recsys.interactions import CSR, contained, subset
from recsys.metrics import parse_metric
from recsys.models import Model, ModelConfig, fit_model
from recsys.models.base import Size
from recsys.models.blend import BlendConfig
from recsys.models.catalogue import Catalogue, load_catalogue
from recsys.models.saved import weights_of
from recsys.models.weighted import weighs
from recsys.rivals import Allowed, Rival
from recsys.scoring import Scorer
from recsys.split import Split
from search.machine.cluster import resolve_device
from search.machine.memory import usable_memory
from search.paste import command, path_word
from search.record.folder import RunFolder
from search.record.handed import MODEL, disagreement
from search.record.provenance import times_of
from search.record.result import Blended, Decided, RivalTested, blended, decided, result_of
from search.record.settings import Settings, settings_of
from search.record.state import RunState, TrialRecord
from search.run.evidence import SettingError, check_evidence
from search.run.opened import divide, read_data
from search.run.since import Since
from search.run.weights import check_weights
from search.screen.display import Display
from search.space.kept import SPEC
from search.space.load import load_run_spec
from search.space.spec import SearchSpec
from search.space.trial import trial_seed
from search.stages.blend import assembled, blend_config
from search.stages.context import shown_metrics
from search.stages.rivals import Chosen, RivalOnTest, kept_rivals, remarks, rival_on_test
from search.stages.winner import FinalTraining
from search.tune.need import trial_bytes
from search.words import baseline_name, counted, gigabytes, number, span

Progress = Callable[[int, int], None]  # (epochs done, epochs in all)


@dataclass(frozen=True, eq=False)
class WonRun:
    """A finished run whose winner can be trained again. catalogue: of its model."""

    folder: RunFolder
    state: RunState
    spec: SearchSpec
    settings: Settings
    race: Decided
    blend: Blended | None  # if it was handed over
    catalogue: Catalogue

    @staticmethod
    def read(folder: RunFolder) -> WonRun:
        """The run in a folder. Raises ConfigError where it has no winner, InputError where its
        model is not the one that it made.
        """
        state, spec = folder.state(), load_run_spec(folder.path)
        if spec.is_table:
            raise ConfigError(f"{folder.name}: a table of configs has no winner to train again")
        race = decided(state)
        model = folder.path / MODEL
        if race is None or not state.stage_done("refit") or weights_of(model) is None:
            raise ConfigError(folder.unfinished("model"))
        if (strange := disagreement(folder.path, state)) is not None:
            resume = command("--resume", "--run", folder.path)
            raise InputError(f"{strange}: `{resume}` makes it again")
        result_of(folder.path, state)  # raises where it is lost, before anything is trained
        blend = blended(state)
        return WonRun(
            folder,
            state,
            spec,
            settings_of(state),
            race,
            blend if blend is not None and blend.handed_over else None,
            load_catalogue(model),
        )

    @property
    def trials(self) -> list[TrialRecord]:
        """The winner, or the members of the blend; the winner need not be one of these."""
        ids = [self.race.winner]
        ids += [one.id for one in (self.blend.members if self.blend else ())]
        return [self.state.trials[name] for name in dict.fromkeys(ids)]


@dataclass(frozen=True)
class Recipe:
    """How the model of a run is made from data: by one training, or by those of a blend.

    trainings: by trial, in the order of a blend's members.
    """

    trainings: Mapping[str, FinalTraining]
    blend: Blended | None
    metric: str

    @staticmethod
    def of(origin: WonRun, device: str, what: str) -> Recipe:
        """The recipe of a run. what: a word on which the seeds depend."""
        blend = origin.blend
        parts = (
            [(origin.race.winner, origin.race.epochs)]
            if blend is None
            else [(one.id, one.epochs) for one in blend.members]
        )
        settings = origin.settings
        trainings = {
            name: FinalTraining.of(
                origin.state.trials[name].training,
                epochs,
                seed=trial_seed(settings.seed, f"{what}:{name}"),
                threads=settings.cpus_per_trial,
                device=device,
            )
            for name, epochs in parts
        }
        return Recipe(trainings, blend, origin.spec.metric)

    @property
    def config(self) -> ModelConfig:
        """The config of the finished model: that of the one training, or of the blend."""
        if self.blend is None:
            (alone,) = self.trainings.values()
            return alone.config
        return self._blended(self.blend)

    def _blended(self, blend: Blended) -> BlendConfig:
        return blend_config(blend, [one.config for one in self.trainings.values()], self.metric)

    def train(self, items: CSR, progress: Progress) -> Model:
        """The model of `items` (U x I), trained in this process. progress: called every epoch.

        Raises LostMemberError for a member of a blend, and DivergedError for a single winner, that
        cannot be trained.
        """
        total = sum(training.epochs for training in self.trainings.values())
        done = itertools.count(1)

        def train(training: FinalTraining) -> Model:
            return training.train(items, lambda: progress(next(done), total))

        if self.blend is None:
            (alone,) = self.trainings.values()
            return train(alone)
        weights = []
        for trial, training in self.trainings.items():
            try:
                weights.append(train(training).to_bytes())
            except (DivergedError, MemoryError) as error:
                raise LostMemberError(trial, training.config, str(error)) from error
        return assembled(self._blended(self.blend), weights, items)


class LostMemberError(Exception):
    """A member of a blend cannot be trained. trial: whose config it is. why: in words."""

    def __init__(self, trial: str, config: ModelConfig, why: str) -> None:
        super().__init__(f"its member {trial} ({config.label()}) cannot be trained: {why}")


REFIT_STAGES = ("valid", "test", "earlier", "rivals", "refit")


# --- the work -------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Trained:
    """What the trainings gave.

    validation, test: the new model on these items. earlier: the model of the earlier data on the
    test items, or on validation items if there are none. rivals: simple models of the new data on
    the same items, by name. seconds: of all trainings.
    """

    model: Model
    config: ModelConfig
    validation: Evaluation
    test: Evaluation | None
    earlier: Evaluation
    rivals: Mapping[str, RivalAgain]
    seconds: float


@dataclass(frozen=True, eq=False)
class RivalAgain:
    """A rival, with the config that the run chose for it. told: its values. on_test: None where
    there are no test items.
    """

    config: ModelConfig
    told: RivalTested
    on_test: RivalOnTest | None


@dataclass(eq=False)
class Again:
    """The new data and what is done with them.

    origin: the run whose winner is trained again. display: shows the stages, `REFIT_STAGES`,
    without "test" where there are no test items. began: Unix seconds. blend_failed: why only the
    winner of a blend is trained again, if so. test_reads: how often the test items were read.
    """

    origin: WonRun
    settings: Settings
    dataset: Dataset
    split: Split
    device: str
    display: Display
    began: float = field(default_factory=time.time)
    blend_failed: str | None = None
    test_reads: int = 0

    @staticmethod
    def prepare(origin: WonRun, settings: Settings, display: Display) -> Again:
        """Read and divide the new data. Raises UserError if the model can't be trained on them."""
        spec, run = origin.spec, origin.folder.name
        display.note(f"reading {settings.data}")
        asks = any(weighs(trial.training) for trial in origin.trials)
        dataset = read_data(settings, None, display.note, values=asks)
        check_weights(run, asks, dataset.interactions)
        for line in describe_lines(dataset):
            display.note(line)
        n_items = dataset.interactions.n_items
        if (most := max(spec.k, parse_metric(spec.metric).k)) > n_items:
            raise ConfigError(
                f"{dataset.interactions.name}: has only {counted(n_items, 'item')}, and run {run} "
                f"makes lists of {most}: expected data of the same kind"
            )
        try:
            for line in check_evidence(dataset, spec):
                display.note(line)
        except SettingError as error:
            raise InputError(
                f"{error} (refit keeps the settings of run {run}: with others, it is a new search)"
            ) from None
        opened = divide(dataset, spec, settings, None)
        before, now = origin.settings, opened.settings
        same = ("data_digest", "ids_digest") + (("values_digest",) if asks else ())
        if all(getattr(before, what) == getattr(now, what) for what in same):
            raise ConfigError(
                f"{settings.data}: has the same data as run {run}: nothing would change"
            )
        device = settings.device
        try:
            resolve_device(device, settings.gpus_per_trial)
        except ConfigError:
            display.note(f"note: there is no {device} here: the model is trained on the CPU")
            device = "cpu"
        work = Again(origin, replace(now, device=device), dataset, opened.split, device, display)
        for line in work.since():
            display.note(line)
        display.note(f"split: {opened.split.name} (digest {opened.split.digest})")
        work.check_memory()
        return work

    @cached_property
    def known(self) -> Matched:
        """The users and items of the new data, as the earlier data know them."""
        there = self.dataset.interactions
        return Matched.of(there.user_ids, there.item_ids, self.origin.catalogue)

    def since(self) -> Iterator[str]:
        """What has changed since the run, as lines. Raises InputError for data of another kind."""
        if self.known.nothing:
            # the space itself, which may have come from a file or been changed by options
            space = str(self.origin.folder.path / SPEC)
            words = ["--space", space, "--data", path_word(self.settings.data)]
            if self.settings.columns:
                pairs = (f"{ours}={theirs}" for ours, theirs in self.settings.columns.items())
                words += ["--columns", ",".join(pairs)]
            if self.settings.min_rating is not None:
                words += ["--min-rating", repr(self.settings.min_rating)]
            raise InputError(
                f"{self.settings.data}: shares no user and no item with the data of run "
                f"{self.origin.folder.name}: expected data of the same kind (for other data, "
                f"`{command(*words)}`)"
            )
        return Since(
            self.origin.folder.name,
            self.origin.catalogue.seen,
            self.split.full(),
            self.known.users,
            self.known.items,
            times_of(self.origin.folder.path),
            self.dataset.interactions.time_span,
        ).lines()

    def train(self) -> Trained:
        """Train for validation, for the test, and on everything; and on the earlier data, for
        comparison. Raises InputError where none of these are left.

        A blend with a member that cannot be trained leaves its place to the winner alone.
        """
        try:
            return self._trained()
        except LostMemberError as failure:
            self._alone(str(failure))
            return self._trained()

    def _alone(self, why: str) -> None:
        """From now on only the winner is trained again, not the blend."""
        self.blend_failed = why
        self.origin = replace(self.origin, blend=None)
        self.display.note(f"the winner alone is trained again, not the blend: {why}")

    def check_memory(self) -> None:
        """Raises InputError where the winner does not fit into this machine. A blend with a member
        that does not leaves its place to the winner alone.
        """
        found = self._too_large()
        if found is not None and self.origin.blend is not None:
            self._alone(f"its member {found}")
            found = self._too_large()
        if found is not None:
            raise InputError(
                f"{self.settings.data}: the winner of run {self.origin.folder.name}, {found}: "
                "expected a machine with more memory, or fewer items"
            )

    def _too_large(self) -> str | None:
        """The first model of those to be trained that does not fit into this machine, and why."""
        size, memory = Size.of(self.split.full()), usable_memory()
        for trial, training in self._recipe("refit").trainings.items():
            needed = trial_bytes(training.config, size, training.threads)
            if needed > memory:
                return (
                    f"{trial} ({training.config.label()}), needs {gigabytes(needed)} of memory on "
                    f"{counted(size.items, 'item')}, and this machine has {gigabytes(memory)}"
                )
        return None

    def _trained(self) -> Trained:
        split, metrics = self.split, shown_metrics(self.origin.spec, self.split.train.n_items)
        began = time.monotonic()
        self.display.stage("valid")
        model = self._train("test" if split.test is None else "validation", split.train)
        validation = self._measure(model, split.train, split.valid, metrics)
        test, seen, held = None, split.train, split.valid
        if split.test is not None:
            seen, held = split.search_data(), split.test
            self.display.stage("test")
            model = self._train("test", seen)
            self.test_reads += 1
            test = self._measure(model, seen, held, metrics)
        self.display.stage("earlier")
        earlier = self._measure(self._earlier(held), seen, held, metrics[:1])
        self.display.stage("rivals")
        rivals = self._rivals(metrics)
        self.display.stage("refit")
        final = self._train("refit", split.full())
        return Trained(
            final,
            self._recipe("refit").config,
            validation,
            test,
            earlier,
            rivals,
            time.monotonic() - began,
        )

    def _recipe(self, what: str) -> Recipe:
        return Recipe.of(self.origin, self.device, what)

    def _train(self, what: str, items: CSR, data: str = "the new data") -> Model:
        began = time.monotonic()
        progress = partial(self.display.progress, what="epochs")
        model = self._recipe(what).train(items, progress)
        pairs = counted(items.nnz, "pair")
        seconds = span(time.monotonic() - began)
        self.display.note(f"trained on {pairs} of {data} ({what}): {seconds}")
        return model

    def _measure(self, model: Scorer, seen: CSR, held: CSR, metrics: tuple[str, ...]) -> Evaluation:
        threads = self.settings.cpus_per_trial
        return evaluate(model, seen, held, metrics, threads=threads, pairs=True)

    def _rivals(self, metrics: tuple[str, ...]) -> dict[str, RivalAgain]:
        """The rivals that the run had, with the configs that it chose for them."""
        beside: dict[str, RivalAgain] = {}
        allowed = Allowed.of(usable_memory(), None)
        kept = kept_rivals(self.origin.state.rivals, Size.of(self.split.train), allowed)
        for rival, config in kept.items():
            name = baseline_name(rival.name)
            try:
                beside[rival.name] = one = self._rival(rival, config, metrics)
            except (DivergedError, MemoryError) as error:
                self.display.note(f"{name} is not measured: {error}")
                beside[rival.name] = RivalAgain(config, RivalTested(skipped=str(error)), None)
            else:
                told = one.told
                where, reached = (
                    ("validation", told.valid) if told.test is None else ("test", told.test)
                )
                value = number((reached or {})[metrics[0]])
                self.display.note(
                    f"{name}, for comparison: {metrics[0]} {value} on the {where} items"
                )
            self.display.progress(len(beside), len(kept), "models")
        return beside

    def _rival(self, rival: Rival, config: ModelConfig, metrics: tuple[str, ...]) -> RivalAgain:
        """A rival on the validation items, and on the test items where there are any."""
        split, threads = self.split, self.settings.cpus_per_trial
        rng = np.random.default_rng([self.settings.seed, 11])
        model = fit_model(config, split.train, rng=rng, threads=threads)
        valid = self._measure(model, split.train, split.valid, metrics).values
        if split.test is None:
            return RivalAgain(config, RivalTested(valid=valid, **remarks(rival, config)), None)
        items, choice = (split.search_data(), split.test), Chosen(config, valid)
        on_test = rival_on_test(rival, choice, *items, metrics, rng, threads)
        return RivalAgain(config, on_test.told, on_test)

    def _earlier(self, held: CSR) -> Earlier:
        """The model of the earlier data without the items that are `held` out of the new data."""
        then = self.origin.catalogue.seen
        left = subset(then, ~contained(then, self.known.pairs(held)))
        if not left.nnz:
            raise InputError(
                f"{self.settings.data}: everything that run {self.origin.folder.name} was trained "
                "on is held out: nothing is left to compare with"
            )
        model = self._train("test", left, f"the data of {self.origin.folder.name}")
        return Earlier(model, self.known, left)
