"""Whether the machine can do what is asked, found out before a run folder exists."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from recsys.errors import ConfigError
from search.machine import environment, ray_folder
from search.machine.cores import usable_cores
from search.machine.head import check_address
from search.machine.limits import check_limits, check_python, check_variables
from search.machine.nodes import Place, choose, left_out, not_yet, several_processors, unheard
from search.machine.room import Room, lacking, without_node
from search.machine.shipping import shipped
from search.machine.storage import check_storage
from search.paths import working_directory
from search.record.settings import Settings


def check_fits(nodes: Sequence[Room], trial: Room, device: str) -> None:
    """Raises ConfigError for a trial that no node can run, however much all of them have together.

    trial: the cores and GPUs that it asks for. device: that it trains on.
    """
    if without_node([trial], nodes):
        raise ConfigError(_too_much(nodes, trial))
    if device == "cuda" and trial.gpus <= 0:
        raise ConfigError("--device cuda: add --gpus-per-trial (0.25 puts four on one GPU)")


def _too_much(nodes: Sequence[Room], trial: Room) -> str:
    """Which options ask for more than any node has, and what there is."""
    cores, gpus = f"--cpus-per-trial {trial.cpus:g}", f"--gpus-per-trial {trial.gpus:g}"
    if len(nodes) == 1:
        [only] = nodes
        if trial.cpus > only.cpus:
            return f"{cores}: there are {only.cpus:g} CPU cores"
        return f"{gpus}: there are {only.gpus:g} GPUs"
    for option, ask in ((cores, Room(trial.cpus)), (gpus, Room(0, trial.gpus))):
        if without_node([ask], nodes):
            return f"{option}: {lacking([ask], nodes)}"
    return f"{cores} {gpus}: {lacking([trial], nodes)}"


def check_place(settings: Settings, note: Callable[[str], None]) -> Place:
    """Check Ray's environment, folder, storage and nodes, and that a trial fits; returns where
    trials may run.

    settings: of the run. note: called with lines for the user. From here on the environment is the
    one that Ray is to see, so Ray must not be imported before. Raises ConfigError.
    """
    check_python()
    check_variables(os.environ)
    applied = environment.apply(bool(settings.address))
    for line in applied.notes:
        note(f"note: {line}")
    if settings.storage is not None:
        check_storage(settings.storage)
    place, trial = Place(), Room(settings.cpus_per_trial, settings.gpus_per_trial)
    if settings.address:
        note(f"asking the nodes of the cluster at {settings.address}")
        nodes = check_address(settings.address, shipped(applied.worker), note, trial)
        asks = settings.gpus_per_trial > 0 and settings.device != "cpu"
        cuda = settings.device == "cuda"
        good, place = choose(settings.address, nodes, cuda=cuda, gpus=asks, trial=trial)
        for line in place.lines:
            note(left_out(line))
        for node in place.late:
            note(not_yet(node))
        if (mixed := several_processors(place.processors)) is not None:
            note(f"note: {mixed}")
        there = [node.room for node in good]
    else:
        folder = ray_folder.choose(os.environ, working_directory())
        folder = ray_folder.usable(folder)
        if folder.note is not None:
            note(f"note: {folder.note}")
        cores = usable_cores()
        check_limits(cores)
        there = [Room(cores, gpus_here(settings.gpus_per_trial))]
    try:
        check_fits(there, trial, settings.device)
    except ConfigError as error:
        raise ConfigError(f"{error}{unheard(place.late)}") from None
    return place


def gpus_here(asked: float) -> float:
    """How many GPUs torch sees on this machine; 0, without a look, where none are `asked` for."""
    if asked <= 0:
        return 0.0
    import torch

    return float(torch.cuda.device_count())
