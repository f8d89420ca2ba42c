"""Whether the machine can do what is asked, found out before a run folder exists."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from recsys.errors import ConfigError
from search.machine import environment, ray_folder
from search.machine.cores import usable_cores
from search.machine.head import check_address
from search.machine.limits import check_limits, check_python, check_variables
from search.machine.nodes import Place, choose, left_out, not_yet, unheard
from search.machine.room import Room
from search.machine.shipping import shipped
from search.machine.storage import check_storage
from search.paths import working_directory
from search.record.settings import Settings


@dataclass(frozen=True)
class Capacity:
    """Cores in all, cores of the largest machine, and GPUs in all."""

    cpus: int
    largest: int
    gpus: float

    def check(self, cpus_per_trial: int, gpus_per_trial: float, device: str) -> None:
        """Raises ConfigError for a trial that asks for more than there is."""
        if cpus_per_trial > self.cpus:
            raise ConfigError(f"--cpus-per-trial {cpus_per_trial}: there are {self.cpus} CPU cores")
        if cpus_per_trial > self.largest:
            raise ConfigError(
                f"--cpus-per-trial {cpus_per_trial}: the largest machine has {self.largest} cores"
            )
        if gpus_per_trial > self.gpus:
            raise ConfigError(f"--gpus-per-trial {gpus_per_trial:g}: there are {self.gpus:g} GPUs")
        if device == "cuda" and gpus_per_trial <= 0:
            raise ConfigError("--device cuda: add --gpus-per-trial (0.25 puts four on one GPU)")


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
    place = Place()
    if settings.address:
        note(f"asking the nodes of the cluster at {settings.address}")
        trial = Room(settings.cpus_per_trial, settings.gpus_per_trial)
        nodes = check_address(settings.address, shipped(applied.worker), note, trial)
        asks = settings.gpus_per_trial > 0 and settings.device != "cpu"
        good, place = choose(settings.address, nodes, cuda=settings.device == "cuda", gpus=asks)
        for line in place.lines:
            note(left_out(line))
        for node in place.late:
            note(not_yet(node))
        there = Capacity(
            int(sum(node.cpus for node in good)),
            int(max((node.cpus for node in good), default=0)),
            float(sum(node.gpus for node in good)),
        )
    else:
        folder = ray_folder.choose(os.environ, working_directory())
        folder = ray_folder.usable(folder)
        if folder.note is not None:
            note(f"note: {folder.note}")
        cores = usable_cores()
        check_limits(cores)
        there = Capacity(cores, cores, gpus_here(settings.gpus_per_trial))
    try:
        there.check(settings.cpus_per_trial, settings.gpus_per_trial, settings.device)
    except ConfigError as error:
        raise ConfigError(f"{error}{unheard(place.late)}") from None
    return place


def gpus_here(asked: float) -> float:
    """How many GPUs torch sees on this machine; 0, without a look, where none are `asked` for."""
    if asked <= 0:
        return 0.0
    import torch

    return float(torch.cuda.device_count())
