"""`refit`: the winner of a run, trained on newer data without a search, as a run of its own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from search.paste import command
from search.record.folder import REPORT, RunFolder, check_runs_dir, default_names
from search.record.handed import SUBMISSION
from search.record.result import read_result
from search.report.page import render_report
from search.run.again import REFIT_STAGES, Again, WonRun
from search.run.opened import absolute
from search.run.refit_record import record
from search.screen.display import Display
from search.summary import result_rows
from search.tracking.driver import sync
from search.tracking.memory import known_uri
from search.tracking.reach import check_name
from search.tracking.where import check_tracking_uri


@dataclass(frozen=True)
class RefitOptions:
    """The options of the command; None where one was not given. run: the folder of the run whose
    winner is trained again. name: of the new run.
    """

    run: Path
    data: str
    min_rating: float | None = None
    columns: dict[str, str] | None = None
    name: str | None = None
    tracking_uri: str | None = None


def refit(options: RefitOptions) -> int:
    """Train, measure, write and deliver; returns the exit code. Raises UserError for a mistake of
    the user.

    Nothing is written before everything is known, and the journal appears last: a refit is either
    finished or not there. The new run lies beside the old one.
    """
    origin = WonRun.read(RunFolder(options.run))
    place = origin.folder.path.parent
    if options.name is None:
        check_runs_dir(place)
    else:
        RunFolder.check_free(place, options.name, "--name")
    uri = check_tracking_uri(options.tracking_uri or known_uri(origin.folder.path))
    if options.tracking_uri is not None:
        check_name(uri)
    before = origin.settings
    settings = replace(
        before,
        data=absolute(options.data),
        min_rating=_given(options.min_rating, before.min_rating),
        columns=_given(options.columns, before.columns),
        tracking_uri=_given(options.tracking_uri, before.tracking_uri),
        trials=len(origin.trials),
        time_budget=None,
    )
    display = Display(
        origin.spec.name, settings.data, 1, metric=origin.spec.metric, plan="trained again"
    )
    work = Again.prepare(origin, settings, display)
    display.stages = tuple(s for s in REFIT_STAGES if s != "test" or work.split.test is not None)
    with display.live():
        done = work.train()
    names = default_names(f"{origin.spec.name}-refit", work.dataset.interactions.name)
    with (
        RunFolder.create_named(place, names)
        if options.name is None
        else RunFolder.create(place, options.name, "--name")
    ) as folder:
        record(folder, work, done)
        folder.write_tables()
        folder.write(REPORT, render_report(folder.path))
        found = read_result(folder.path)
        assert found is not None, "it was written a moment ago"
        todo = [
            command("export", folder.path, "-o", SUBMISSION),
            command("refit", folder.path, "--data", "NEWER.csv"),
        ]
        display.summary(result_rows(found, folder.path, todo))
    status = sync(folder.path, uri)
    for line in [status.registered, status.sentence()]:
        if line is not None:
            display.note(line)
    return 0


def _given(value: Any, before: Any) -> Any:
    return before if value is None else value
