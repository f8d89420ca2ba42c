"""One session of a run: from its first line in the journal to its last.

A run has one session when all goes well, and one more for every resume or extension.
"""

from __future__ import annotations

import errno
import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from recsys.data import Dataset
from recsys.errors import ConfigError
from recsys.models.base import Size
from recsys.split import Split
from search.machine import ray_folder
from search.machine.beat import beat
from search.machine.cluster import Cluster
from search.machine.nodes import Place
from search.machine.usage import Meter, UsageWatch
from search.machine.workers import NoWorkersError
from search.paste import PROG
from search.record.events import (
    STAGES,
    MachineSeen,
    SessionBegan,
    SessionEnded,
    StageMarked,
    StageState,
    Status,
    stages_of,
)
from search.record.folder import PROVENANCE, REPORT, RunFolder
from search.record.handed import disagreement
from search.record.journal import Journal, StorageError
from search.record.planned import searched_for
from search.record.provenance import (
    DataFacts,
    SearchFacts,
    SplitFacts,
    provenance,
    read_provenance,
)
from search.record.result import ResultPart, read_result, write_result
from search.record.settings import Settings
from search.report.files import read_run
from search.report.page import render_report
from search.report.tables import leak_lines
from search.run.evidence import newcomers
from search.run.need import resources_on
from search.run.restart import deadline_of, restart, resume_command
from search.run.signals import EXIT_CODE, Interruption
from search.screen.display import Display
from search.space.kept import SPEC
from search.space.spec import SearchSpec
from search.stages.blend import choose_blend
from search.stages.context import RunFailedError, Stages, time_until
from search.stages.lists import drop_lists
from search.stages.race import race
from search.stages.refit import refit
from search.stages.result import result
from search.stages.rivals import note_missing
from search.stages.search import search
from search.stages.test import test
from search.summary import result_rows
from search.tracking.driver import Tracker
from search.tracking.memory import DeliveryStatus
from search.tracking.where import default_tracking_uri

NO_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO)
SAY_AFTER_S = 3.0  # of waiting for MLflow
FLUSH_S = {Status.DONE: 60.0, Status.FAILED: 20.0, Status.INTERRUPTED: 1.0}
OVER = 0.1  # of a time budget: how much longer a run may take until MLflow has it
LEAST_FLUSH_S = 5.0  # of waiting for MLflow, however late it is
EXIT = {Status.DONE: 0, Status.FAILED: 1, Status.INTERRUPTED: EXIT_CODE}


@dataclass
class Session:
    """What a session works with; call `drive`.

    interruption: of the process. place: which nodes trials may run on. extends: whether the session
    adds trials to those that the run had planned or made.
    """

    spec: SearchSpec
    settings: Settings
    dataset: Dataset
    split: Split
    folder: RunFolder
    display: Display
    interruption: Interruption = field(default_factory=Interruption)
    place: Place = field(default_factory=Place)
    extends: bool = False

    def drive(self) -> int:
        """Begin, run the stages, end; returns the exit code."""
        with self.folder.journal() as journal:
            self.interruption.last_words = f"to resume: {resume_command(self.folder)}"
            self._begin(journal)
            tracker = Tracker(
                self.folder.path, self.settings.tracking_uri or default_tracking_uri()
            )
            tracker.start()
            run: Stages | None = None
            status = Status.FAILED
            cause: BaseException | None = None
            try:
                cluster = self._cluster()
                with cluster, self.display.live(), self._watch(journal):
                    run = self._stages(journal, cluster)
                    self._go(run)
                status = Status.DONE
            except (RunFailedError, NoWorkersError) as failure:
                sys.stderr.write(f"{PROG}: {failure}\n")
            except KeyboardInterrupt:
                status = Status.INTERRUPTED
                self.display.note("interrupted: keeping what is there")
            except BaseException as error:
                cause = error
            status = self._ended(journal, run, tracker, status, cause)
        return EXIT[status]

    def _ended(
        self,
        journal: Journal,
        run: Stages | None,
        tracker: Tracker,
        status: Status,
        cause: BaseException | None,
    ) -> Status:
        """End the session (`_end`), then raise the first error, if any: `cause`, which stopped the
        stages, or else an error of the end itself. An error of a disk becomes a StorageError.
        """
        try:
            status = self._end(journal, run, tracker, status)
        except Exception as error:
            cause = cause or error  # if a full disk was the cause, it is full here too
        if cause is not None:
            if (disk := disk_error(cause, self.folder)) is None:
                raise cause
            raise disk from cause
        return status

    def _watch(self, journal: Journal) -> AbstractContextManager[object]:
        """What records in the journal how busy this machine is, if that was asked for."""
        if not self.settings.system_metrics:
            return nullcontext()
        try:
            meter = Meter()
        except (OSError, ValueError, KeyError):
            self.display.note("--system-metrics: this system does not say how busy it is")
            return nullcontext()
        return UsageWatch(meter, lambda usage: journal.append(MachineSeen(**asdict(usage))))

    def _cluster(self) -> Cluster:
        gone = "the cluster's head is gone, or the search was killed"
        words = (
            f"{PROG}: {gone if self.settings.address else 'the search was killed'}; "
            "nothing finished is lost. "
            f"To resume: {resume_command(self.folder)}"
        )
        cluster = Cluster(
            self.settings.address,
            on_lost=self._ray_lost,
            last_words=words,
            note=self.display.note,
            place=self.place,
        )
        self.interruption.before_leaving = cluster.dismiss_guard
        return cluster

    def _ray_lost(self, what: str) -> None:
        """Ray died under the trials: start again from the journal, at most a few times. what: the
        server that died.
        """
        restart(self.interruption, what, self.folder)

    def _stages(self, journal: Journal, cluster: Cluster) -> Stages:
        settings = self.settings
        deadline = deadline_of(settings.time_budget, self.interruption.began)
        if (left := time_until(deadline)) is not None:
            self.display.ends_in(left)
        return Stages(
            spec=self.spec,
            settings=settings,
            dataset=self.dataset,
            split=self.split,
            plan=self.spec.split,
            folder=self.folder,
            journal=journal,
            display=self.display,
            cluster=cluster,
            resources=resources_on(
                cluster, self.spec, settings, Size.of(self.split.train), self.place
            ),
            deadline=deadline,
        )

    def _go(self, run: Stages) -> None:
        """Run the stages in order; a report table has no winner, so no race and no test stage."""
        self._compile()
        note_missing(run)
        work: dict[str, Callable[[], ResultPart]] = {
            "search": lambda: search(run),
            "race": lambda: race(run),
            "blend": lambda: choose_blend(run),
            "test": lambda: test(run),
            "refit": lambda: refit(run),
        }
        for name in stages_of(self.spec.is_table, bool(self.spec.blend)):
            run.stage(name, work[name])
            if name == "blend":  # it is in the journal now: a resume no longer needs the lists
                drop_lists(run.folder.path)

    def _compile(self) -> None:
        """Compile the kernels once, here, so that the workers need not all do it at once."""
        if self.settings.device != "cpu":
            return
        from recsys.models.warm_up import warm_up_models

        self.display.note("loading the compiled kernels (the first time takes a while)")
        with self.interruption.postponed():  # the compiler calls back from C
            seconds = warm_up_models(
                list(self.spec.examples()),
                threads=self.settings.cpus_per_trial,
                note=self.display.note,
            )
        if seconds > 5:
            self.display.note(f"compiled in {seconds:.0f} s, kept for the next time")

    def _begin(self, journal: Journal) -> None:
        """The files that say what the run is, and the first line of the session."""
        spec, settings, folder = self.spec, self.settings, self.folder
        folder.write(SPEC, spec.to_yaml())
        previous = read_provenance(folder.path)
        now = provenance(previous, facts(self.dataset, self.settings, self.split))
        folder.write_json(PROVENANCE, now.plain())
        began = first_line(folder.name, spec, settings, self.dataset, self.split)
        journal.append(replace(began, extends=self.extends or None), sync=True)
        state = folder.state()
        self.display.take_up(state.trials.values())
        if not searched_for(state, spec.trials) and self.display.done < spec.trials:
            # More trials may change the winner: results based on the old one are stale. Where they
            # are added (--extend), the first line has said so already.
            for name in STAGES:
                if state.stage_done(name):
                    journal.append(StageMarked(name=name, state=StageState.START))
        if disagreement(folder.path, folder.state()) is not None:
            journal.append(StageMarked(name="refit", state=StageState.START))  # it is made again

    def _end(
        self, journal: Journal, run: Stages | None, tracker: Tracker, status: Status
    ) -> Status:
        """Write the files derived from the journal, its last line, and the summary on screen.

        Returns the status, which an interruption meanwhile may change.
        """
        try:
            status = self._checked(status)
            self._write_files(run, status)
            # The last line: a run that has it has all its files.
            journal.append(SessionEnded(status=status), sync=True)
        except KeyboardInterrupt:
            status = Status.INTERRUPTED
        if status == Status.DONE:  # MLflow, which is waited for below, has no part in it
            found = read_result(self.folder.path)
            assert found is not None, "it was written a moment ago"
            table = leak_lines(read_run(self.folder.path))
            nodes = () if run is None else run.cluster.left_out
            left_out = [("left out", line) for line in nodes]
            self.display.summary([*table, *result_rows(found, self.folder.path), *left_out])
        delivery = self._deliver(tracker, flush_s(run, status))
        if status == Status.INTERRUPTED:
            self.interruption.farewell()
        if delivery.registered is not None and status == Status.DONE:
            self.display.note(delivery.registered)
        if not delivery.delivered:
            self.display.note(delivery.sentence())
        return status

    def _checked(self, status: Status) -> Status:
        """The status, or FAILED where a file of the run is not the one that its refit made."""
        if status != Status.DONE:
            return status
        if (strange := disagreement(self.folder.path, self.folder.state())) is None:
            return status
        sys.stderr.write(
            f"{PROG}: {strange}: do not use it; `{resume_command(self.folder)}` makes it again\n"
        )
        return Status.FAILED

    def _write_files(self, run: Stages | None, status: Status) -> None:
        folder = self.folder
        folder.write_tables()
        if run is not None:
            run.state = folder.state()
            run.write_study()
            write_result(folder, result(run, status))
            if status != Status.INTERRUPTED:
                folder.write(REPORT, render_report(folder.path))

    def _deliver(self, tracker: Tracker, seconds: float) -> DeliveryStatus:
        """Wait for MLflow for at most so many seconds, or until Ctrl-C."""

        def say(passed: float) -> None:
            self.display.note(f"waiting for MLflow, at most {max(seconds - passed, 0):.0f} s more")

        try:
            with beat(say, SAY_AFTER_S):
                return tracker.close(seconds)
        except KeyboardInterrupt:
            return tracker.close(0.5)


def flush_s(run: Stages | None, status: Status) -> float:
    """How many seconds a session that ends like this waits for MLflow: of a time budget, at most
    what is left of it and `OVER`. What is not delivered then, `sync` delivers.
    """
    most = FLUSH_S[status]
    if run is None or run.deadline is None or run.settings.time_budget is None:
        return most
    left = run.deadline + OVER * run.settings.time_budget - time.monotonic()
    return min(most, max(left, LEAST_FLUSH_S))


def facts(dataset: Dataset, settings: Settings, split: Split) -> SearchFacts:
    """What provenance.json says of data, split and settings."""
    data = dataset.interactions
    return SearchFacts(
        data=DataFacts(
            source=settings.data,
            name=data.name,
            digest=settings.data_digest,
            users=data.n_users,
            items=data.n_items,
            positives=data.nnz,
            times=data.time_span,
        ),
        split=SplitFacts(name=split.name, digest=split.digest, seed=split.seed),
        seed=settings.seed,
        settings=settings,
    )


def first_line(
    name: str, spec: SearchSpec, settings: Settings, dataset: Dataset, split: Split
) -> SessionBegan:
    """The first line of a session, in a search and in a `refit`. name: the run's."""
    decides = spec.deciding()
    return SessionBegan(
        name=name,
        space=spec.name,
        spec_digest=spec.digest(),
        settings=asdict(settings),
        dataset=dataset.interactions.name,
        metric=spec.metric,
        purpose=spec.purpose,
        deciding=None if decides is None else decides.name,
        split=split.name,
        split_digest=split.digest,
        device=settings.device,
        seed=settings.seed,
        newcomers=[one.plain() for one in newcomers(dataset, spec.split)] or None,
        parts=_parts(split),
    )


def _parts(split: Split) -> dict[str, dict[str, Any]]:
    """What a run's first line says of the parts of its split."""
    parts = {"train": split.train, "valid": split.valid, "test": split.test}
    return {
        name: {
            "digest": part.digest(),
            "users": int(np.count_nonzero(part.degrees())),
            "items": int(np.count_nonzero(part.item_counts())),
            "pairs": part.nnz,
        }
        for name, part in parts.items()
        if part is not None
    }


def disk_error(error: BaseException, folder: RunFolder) -> StorageError | None:
    """The error of a full or read-only disk behind an exception; None where there is none.

    Ray's own records lie in the run folder too, and Ray wraps what is raised inside its loop.
    """
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, StorageError):
            return inner
        if isinstance(inner, OSError) and inner.errno in NO_DISK:
            return StorageError.at(full_place(inner, folder.path), inner)
        inner = inner.__cause__ or inner.__context__
    return None


def full_place(error: OSError, folder: Path) -> Path:
    """Where an error of a disk happened: the place it names, or else one where no byte can be
    written.

    Candidates are the run folder, Ray's folder, and that of Python's temporary files.
    """
    if error.filename is not None:
        return Path(os.fsdecode(error.filename))
    for place in (folder, ray_folder.choose(os.environ, Path("/")).path, tempfile.gettempdir()):
        try:
            ray_folder.check(Path(place))
        except ConfigError:
            return Path(place)
    return folder
