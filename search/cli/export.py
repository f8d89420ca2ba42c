"""`export`: a run's submission, lists for other users or of other items, or vectors."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recsys.errors import ConfigError, InputError
from search.cli.targets import new_folder, target_file, whole_file
from search.paste import command

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from recsys.data import Dataset
    from recsys.models import Model, ModelConfig
    from recsys.models.catalogue import Catalogue
    from search.record.folder import RunFolder
    from search.record.state import RunState

# endings of formats that are not written
OTHER_KINDS = frozenset(
    {".tsv", ".xlsx", ".xls", ".ods", ".json", ".jsonl", ".feather", ".pq", ".npy", ".npz", ".pkl"}
    | {".gz", ".zip", ".xz", ".bz2", ".zst"}
)
LISTS = ("users", "items", "exclude", "include_seen", "k", "scores")


def export(options: argparse.Namespace, folder: RunFolder) -> int:
    """Export what was asked for. Every option is used, or refused before anything is written."""
    _check(options)
    if options.vectors is not None:
        _export_vectors(folder, options)
        return 0
    target = target_file(options.output, _inputs(options, folder))
    if target.suffix.lower() in OTHER_KINDS:
        raise ConfigError(f"-o {options.output}: expected a name ending in .csv or .parquet")
    parquet = target.suffix.lower() == ".parquet"
    if parquet and options.submission_sep is not None:
        raise ConfigError("--submission-sep: parquet has lists in its cells: leave it out")
    if parquet or any(getattr(options, name) for name in LISTS):
        _export_lists(folder, options, target, parquet)
    elif options.trial is not None:
        _export_trial(folder, options, target)
    else:
        _export_submission(folder, options.submission_sep, target)
    print(f"wrote {target}")  # noqa: T201
    return 0


def _check(options: argparse.Namespace) -> None:
    if (options.output is None) == (options.vectors is None):
        raise ConfigError("expected -o FILE for lists, or --vectors DIR for vectors")
    if options.data is not None and options.trial is None:
        raise ConfigError("--data: the run's own model needs no data: leave it out, or add --trial")
    if options.vectors is not None:
        for name in (*LISTS, "submission_sep"):
            if getattr(options, name):
                flag = "--" + name.replace("_", "-")
                raise ConfigError(f"{flag}: has no effect with --vectors: leave it out")


def _inputs(options: argparse.Namespace, folder: RunFolder) -> Iterator[tuple[str, str]]:
    """The files that the command reads, and the data that a resume of the run would need, each with
    what an error calls it.
    """
    from recsys.data import SETS
    from search.record.settings import known_settings
    from search.run.opened import absolute

    for name in ("users", "items", "exclude", "data"):
        if (file := getattr(options, name)) is not None and not (name == "data" and file in SETS):
            yield f"--{name} {file}", absolute(file)
    settings = known_settings(folder.state())
    if settings is not None and settings.data not in SETS:
        yield f"the data of run {folder.name}", settings.data


# --- the submission as it is ------------------------------------------------------------------


def _export_submission(folder: RunFolder, separator: str | None, target: Path) -> None:
    """Copy the run's submission, or write it again with another separator."""
    from recsys.submission import rewrite_submission
    from search.record.handed import SUBMISSION

    ready = folder.path / SUBMISSION
    _check_own(folder, "submission", there=ready.exists())
    with whole_file(target) as temporary:
        if separator is None:
            shutil.copyfile(ready, temporary)
        else:
            rewrite_submission(ready, temporary, _separator_of(folder), separator)


def _export_trial(folder: RunFolder, options: argparse.Namespace, target: Path) -> None:
    """Train a trial's config on all data; write its submission."""
    from search.stages.handover import submit

    used, dataset = _trained(folder, options.trial, options.data)
    separator = options.submission_sep or used.separator
    submit(target, used.model, dataset, used.catalogue.seen, used.k, separator)


def _separator_of(folder: RunFolder) -> str:
    """The separator of the items in a run's submission."""
    from search.record.result import Refitted, refitted

    return (refitted(folder.state()) or Refitted()).separator


def _unfinished(folder: RunFolder, what: str) -> InputError:
    return InputError(f"{folder.unfinished(what)}, or name a trial with --trial")


def _check_own(folder: RunFolder, what: str, *, there: bool) -> None:
    """Raise InputError where model or submission are not those that this run's refit made, or where
    `what` is missing (`there`: whether it exists).

    What a run had before an unfinished extension is exported, with a note.
    """
    from search.record.folder import JOURNAL
    from search.record.handed import disagreement

    state = folder.state()
    if (strange := disagreement(folder.path, state)) is not None:
        again = command("--resume", "--run", folder.path)
        raise InputError(f"{strange}: `{again}` makes it again")
    if not there:
        raise _unfinished(folder, what)
    if "refit" not in state.stages:  # lines were lost, or someone put the files there
        journal = folder.path / JOURNAL
        raise InputError(f"{journal} knows of no refit: {_unfinished(folder, what)}")
    if not state.stage_done("refit"):
        print("note: this is what the run had before it was extended")  # noqa: T201


# --- what is exported -------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Used:
    """A trained model in the ids of the user's file, and the lists that its run writes.

    names: the users of the submission; None: every user. k: items of a list. separator: between
    them.
    """

    model: Model
    config: ModelConfig
    catalogue: Catalogue
    names: list[str] | None
    k: int
    separator: str


def _ready(folder: RunFolder) -> _Used:
    """The model that the run has handed over."""
    from recsys.data.ids_file import read_ids
    from recsys.models.catalogue import load_catalogue
    from recsys.models.saved import load_config, load_model, weights_of
    from search.record.handed import MODEL, SUBMISSION
    from search.space.load import load_run_spec

    model, submission = folder.path / MODEL, folder.path / SUBMISSION
    _check_own(folder, "model", there=weights_of(model) is not None and submission.exists())
    return _Used(
        load_model(model),
        load_config(model),
        load_catalogue(model),
        read_ids(submission, "user").names,
        load_run_spec(folder.path).k,
        _separator_of(folder),
    )


def _trained(folder: RunFolder, trial_id: str, data: str | None) -> tuple[_Used, Dataset]:
    """A trial's config, trained on all data as `training_alone` says; and the data.

    data: where the data are now, if they have moved.
    """
    from recsys.models.catalogue import Catalogue
    from search.machine.cluster import resolve_device
    from search.record.settings import settings_of
    from search.run.opened import given, open_data
    from search.space.load import load_run_spec
    from search.stages.winner import training_alone

    state = folder.state()
    if trial_id == "best":
        trial_id = _winner_of(folder, state)
    trial = state.trials.get(trial_id)
    if trial is None:
        known = ", ".join(t.id for t in state.in_order()[:3])
        hint = f"expected one of {known}, ..." if known else "the run has none yet"
        raise ConfigError(f"--trial {trial_id}: no such trial; {hint}")
    if trial.best_epoch is None:
        raise ConfigError(f"--trial {trial_id}: it is {trial.state} and has no best epoch")
    settings = settings_of(state)
    if data is not None:
        settings = replace(settings, data=given(data))
    spec = load_run_spec(folder.path)
    device = settings.device
    try:
        resolve_device(device, settings.gpus_per_trial)
    except ConfigError:
        print(f"note: there is no {device} here, the trial is trained on the CPU")  # noqa: T201
        device = "cpu"
    opened = open_data(spec, settings, folder.name, lambda _: None)
    everything = opened.split.full()
    training = training_alone(state, settings, trial, device)
    model = training.train(everything)
    there, receivers = opened.dataset.interactions, opened.dataset.receivers
    used = _Used(
        model,
        training.config,
        Catalogue(there.user_ids, there.item_ids, everything),
        None if receivers is None else list(receivers.names),
        spec.k,
        settings.submission_sep,
    )
    return used, opened.dataset


def _winner_of(folder: RunFolder, state: RunState) -> str:
    """The trial that won the race. Raises ConfigError where there is no winner yet."""
    from search.record.result import decided

    race = decided(state)
    if race is None:
        raise ConfigError(f"--trial best: run {folder.name} has no winner yet")
    return race.winner


def _used(folder: RunFolder, options: argparse.Namespace) -> _Used:
    if options.trial is None:
        return _ready(folder)
    return _trained(folder, options.trial, options.data)[0]


# --- other lists ------------------------------------------------------------------------------


def _export_lists(
    folder: RunFolder, options: argparse.Namespace, target: Path, parquet: bool
) -> None:
    """Write the lists that were asked for; notes say which ids are not in the data."""
    import numpy as np

    from recsys.interactions import no_pairs
    from recsys.receivers import receivers_of, texts
    from recsys.recommending import Recommender
    from recsys.submission import Lists, write_lists, write_lists_parquet

    files = [
        _IdsFile.read(*one)
        for one in (
            ("--users", options.users, "user"),
            ("--items", options.items, "item"),
            ("--exclude", options.exclude, "item"),
        )
    ]
    used = _used(folder, options)
    catalogue, k = used.catalogue, options.k or used.k
    for file in files:
        file.match(catalogue.item_ids if file.role == "item" else catalogue.user_ids)
    users, only, never = files
    names = users.names or used.names or texts(catalogue.user_ids)
    receivers = receivers_of(names, catalogue.user_ids)
    allowed = np.full(len(catalogue.item_ids), not only.names)
    allowed[only.codes] = True
    allowed[never.codes] = False
    if not allowed.any():
        raise ConfigError("--exclude: no item is left to recommend: expected fewer")
    ranked = Recommender(used.model, used.config, catalogue.seen).recommend(
        receivers.codes,
        no_pairs(len(receivers), len(allowed)),
        k,
        exclude_seen=not options.include_seen,
        allowed=None if allowed.all() else allowed,
    )
    items = texts(catalogue.item_ids)
    rows = [[items[i] for i in row if i >= 0] for row in ranked.items.tolist()]
    scores = [row[: len(own)].tolist() for row, own in zip(ranked.scores, rows, strict=True)]
    lists = Lists(receivers.names, rows, scores if options.scores else None, ranked.source)
    if parquet:
        write_lists_parquet(target, lists, integers=catalogue.item_ids.dtype == np.int64)
    else:
        write_lists(target, lists, options.submission_sep or used.separator)
    if short := sum(len(row) < k for row in rows):
        print(  # noqa: T201
            f"note: {short:,} of {len(rows):,} users have fewer than {k} items left to recommend"
        )


@dataclass
class _IdsFile:
    """The ids in the file of an option; empty where it is not given.

    flag: the option. role: `user` or `item`. headed: whether the file has a header. repeated: rows
    with an id that came before. codes: the internal ids of those in the data.
    """

    flag: str
    file: str | None
    role: str
    names: list[str]
    headed: bool
    repeated: int
    codes: NDArray[np.int64]

    @staticmethod
    def read(flag: str, file: str | None, role: str) -> _IdsFile:
        """Read the file. Raises InputError, which names the option, where it has no such ids."""
        import numpy as np

        from recsys.data.ids_file import read_ids

        none = np.zeros(0, np.int64)
        if file is None:
            return _IdsFile(flag, file, role, [], True, 0, none)
        try:
            ids = read_ids(Path(file), role)
            return _IdsFile(flag, file, role, ids.names, ids.headed, ids.repeated, none)
        except InputError as error:
            raise InputError(f"{flag} {error}") from None

    def match(self, ids: NDArray[Any]) -> None:
        """Spell the names as the data does, and print which are not in it. Raises InputError if
        none is.
        """
        from recsys.data.ids import respelled_note, spelled_as
        from recsys.data.stream import shown
        from recsys.receivers import receivers_of
        from search.words import counted

        if not self.names:
            return
        own = spelled_as(self.names, ids)
        found = receivers_of(own, ids)
        strange = [name for name, code in zip(found.names, found.codes, strict=True) if code < 0]
        if len(strange) == len(found):
            raise InputError(
                f"{self.flag} {self.file}: has none of the {self.role}s of the run's data "
                f"({shown(strange[0])} ...): are the ids spelled in the same way?"
            )
        if self.role == "user" and not self.headed and strange == [found.names[0]]:
            raise InputError(
                f"{self.flag} {self.file}: row 1, {shown(strange[0])}, is the only one that is not "
                "a user of the run's data: is it a header? Write user_id there, or above it"
            )
        if strange:
            so = "they get the most popular items" if self.role == "user" else "they are ignored"
            print(  # noqa: T201
                f"note: {len(strange):,} of {len(found):,} {self.role}s of {self.file} are not in "
                f"the data ({shown(strange[0])} ...): {so}"
            )
        if more := self.repeated + len(self.names) - len(found):
            print(  # noqa: T201
                f"note: {self.file} repeats a {self.role} id in {counted(more, 'row')}: each of "
                f"the {len(found):,} {self.role}s counts once"
            )
        changed = next((n for n, name in enumerate(own) if name != self.names[n]), None)
        if changed is not None:
            note = respelled_note(self.role, self.names[changed], own[changed])
            print(f"note: {note}")  # noqa: T201
        self.names, self.codes = own, found.known


# --- vectors ----------------------------------------------------------------------------------


def _export_vectors(folder: RunFolder, options: argparse.Namespace) -> None:
    """Write users and items as vectors, in a new folder."""
    from recsys.vectors import write_vectors

    place = new_folder("--vectors", options.vectors, _inputs(options, folder))
    used = _used(folder, options)
    vectors = used.model.vectors()
    if vectors is None:
        raise ConfigError(
            f"--vectors: the model is {used.config.model}, which has no vectors: expected a "
            "factorization (lfm or ials), e.g. a trial of one with --trial"
        )
    size = write_vectors(place, vectors, used.catalogue.user_ids, used.catalogue.item_ids)
    print(f"wrote {place}: {size} dimensions, and the ids of their rows")  # noqa: T201
    print(  # noqa: T201
        f"load   import faiss, numpy as np; index = faiss.IndexFlatIP({size}); "
        f"index.add(np.load({str(place / 'items.npy')!r}))"
    )
    print(  # noqa: T201
        f"ask    scores, rows = index.search(np.load({str(place / 'users.npy')!r}), 10)  "
        "# inner products are the model's scores; rows are the rows of items.parquet"
    )
