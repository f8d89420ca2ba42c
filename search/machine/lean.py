"""Ray as a search starts it: with fewer servers, each in a process group of its own, and quieter.

Ray has no options for any of this.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def without_idle_servers() -> Iterator[None]:
    """Within the block `ray.init` starts no autoscaler, log monitor or dashboard.

    A single machine cannot be scaled, the search reads the log files itself, and the dashboard,
    which with `include_dashboard=False` shows nothing, is still waited for. Together they take 260
    MB and 3 to 4 s of a core's time at each start.
    """
    from ray._private.node import Node
    from ray._private.parameter import RayParams

    params = RayParams.__init__

    def fewer(self: RayParams, *args: Any, **kwargs: Any) -> None:
        params(self, *args, **kwargs | {"no_monitor": True, "include_log_monitor": False})

    with (
        _replaced(RayParams, "__init__", fewer),
        _replaced(Node, "start_api_server", lambda *_, **__: None),
    ):
        yield


@contextmanager
def servers_in_own_group() -> Iterator[None]:
    """Within the block each server that `ray.init` starts leads a process group of its own.

    A signal to the whole group of this process, as `timeout` or `kill -- -GROUP` sends, would end
    Ray's servers and workers first, and with them this process, before it could end in order. The
    servers still end with this process: Linux tells them of its death, and so does the guard. On
    other systems Ray relies on the group to clean up, so there it is left as it is.
    """
    from ray._private import services

    if not sys.platform.startswith("linux"):
        yield
        return
    start = functools.partial(services.ConsolePopen, process_group=0)
    with _replaced(services, "ConsolePopen", start):
        yield


@contextmanager
def without_counting_callbacks() -> Iterator[None]:
    """Within the block Ray Tune does not count which of its own callbacks are used, for which it
    imports all of MLflow (2 s).
    """
    from ray.air._internal import usage

    with _replaced(usage, "tag_callbacks", lambda _: False):
        yield


@contextmanager
def without_bookkeeping() -> Iterator[None]:
    """Within the block Ray Tune keeps no averages of what trials report, and asks Ray's server once
    for the code that trials run, rather than twice a trial.
    """
    from ray.tune.experiment import trial
    from ray.tune.trainable.metadata import _TrainingRunMetadata

    with (
        _replaced(_TrainingRunMetadata, "update_metric", lambda *_, **__: None),
        _replaced(trial, "get_trainable_cls", functools.cache(trial.get_trainable_cls)),
    ):
        yield


@contextmanager
def without_words_of_workers() -> Iterator[None]:
    """Within the block Ray prints nothing about workers that died: a trial's own record has it."""
    from ray._private import worker

    with _replaced(worker, "print_to_stdstream", lambda *_, **__: None):
        yield


@contextmanager
def _replaced(where: object, name: str, value: object) -> Iterator[None]:
    before = getattr(where, name)
    setattr(where, name, value)
    try:
        yield
    finally:
        setattr(where, name, before)
