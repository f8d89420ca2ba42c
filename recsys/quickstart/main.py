"""The quick start, from its command line to the checked submission.

Unlike in the report, the submission comes from a model trained on all data, validation items
included, for the number of epochs that was best.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from recsys.data import SETS, Dataset, describe_lines, load
from recsys.errors import ConfigError, DivergedError, InputError, UserError
from recsys.evaluation import top_items
from recsys.interactions import CSR
from recsys.models.mf.config import TrainConfig
from recsys.models.mf.engine import EngineName
from recsys.models.mf.model import LFM
from recsys.models.mf.training import EpochReport, train
from recsys.output import one_line
from recsys.quickstart.settings import (
    BceSettings,
    BprSettings,
    DataSettings,
    read_settings,
    torch_device,
    train_config,
)
from recsys.safe_files import replacing, would_change
from recsys.split import Split, make_split
from recsys.submission import submit

_OWN = Path(__file__).resolve().parents[1] / "config"  # in an installation
CONFIG = _OWN if _OWN.is_dir() else _OWN.parent.parent / "config"
DEFAULT_INPUT = "train.csv"
RESULTS = ("submission.csv", "training.png", "best.pt")
SEARCH = "journal.jsonl"  # a file in the folder of a search's run


def main(argv: Sequence[str] | None = None) -> int:
    """Run the quick start; returns the exit code: 0 done, 1 failed, 2 wrong usage or input, 130
    Ctrl-C.
    """
    options = parser().parse_args(argv)
    try:
        run(options.output, options.input, options.bce, options.config, options.engine)
    except UserError as error:
        return _fail(str(error), 2)
    except DivergedError as error:
        return _fail(f"{error}; a smaller lr in the training file usually helps", 1)
    except OSError as error:
        return _fail(f"{error.filename or options.output}: {error.strerror or error}", 1)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line of `run.sh`: the report's options, and a few more."""
    result = argparse.ArgumentParser(
        prog="run.sh",
        description="Train one recommender and write submission.csv.",
        allow_abbrev=False,
    )
    add = result.add_argument
    add("-o", dest="output", metavar="DIR", required=True, type=Path, help="where results go")
    add("-bce", action="store_true", help="BCE loss (train_bce.yaml) instead of BPR")
    add(
        "-i",
        dest="input",
        metavar="FILE",
        default=None,
        help="interactions: a file, or a named data set such as ml-100k (default: train.csv)",
    )
    add("--config", metavar="DIR", default=CONFIG, type=Path, help="folder of the three YAML files")
    add("--engine", choices=("auto", "numba", "torch"), default="auto", help="training engine")
    return result


def run(output: Path, source: str | None, bce: bool, config_dir: Path, engine: EngineName) -> None:
    """Everything from the settings to the checked submission. Raises UserError, DivergedError and
    OSError.

    output: the folder of results. source: the data, None for train.csv. bce: with BCE loss.
    config_dir: has the YAML files.
    """
    data_settings = read_settings(config_dir / "data.yaml", DataSettings)
    path = config_dir / ("train_bce.yaml" if bce else "train_bpr.yaml")
    settings: BceSettings = read_settings(path, BceSettings if bce else BprSettings)
    config = train_config(data_settings, settings, path)
    device = torch_device(settings.device, path)
    check_results(output, source or DEFAULT_INPUT)
    dataset = read_input(source)
    interactions = dataset.interactions
    if settings.top_k > interactions.n_items:
        raise ConfigError(
            f"{path}: top_k is {settings.top_k}, but the data has only "
            f"{interactions.n_items} items: expected at most that"
        )
    split = make_split(dataset, data_settings.plan(), data_settings.seed)
    make_folder(output)
    for line in describe_lines(dataset):
        say(line)
    say(f"split: {split.name}")
    if config.leaky:
        say(
            "negatives_exclude is all: validation items are never drawn as negatives, so the "
            "LEAKY validation mAP below is too high and says nothing about unseen items"
        )
    metric = f"map@{settings.top_k}"
    rng = np.random.default_rng(data_settings.seed)
    history = search_epochs(
        split, config, metric, data_settings.time_limit, rng, output, device, engine
    )
    plot_history(history, metric, output / "training.png", config.leaky)
    last = history[-1]
    say(f"stopped by {last.stop}; best {metric} {last.best_value:.4f} in epoch {last.best_epoch}")
    say(f"training on everything for {last.best_epoch} epochs")
    everything = split.full()
    model = refit(everything, config, last.best_epoch, rng, device, engine)
    submission = output / "submission.csv"
    submit(
        submission,
        interactions,
        everything,
        settings.top_k,
        lambda users: top_items(model, everything, users, settings.top_k),
        receivers=dataset.receivers,
    )
    warning = ", LEAKY: negatives exclude validation items" if config.leaky else ""
    say(f"validation {metric} {last.best_value:.4f} ({split.name}{warning})")
    say(f"wrote {submission}, {output / 'training.png'}, {output / 'best.pt'}")


def read_input(source: str | None) -> Dataset:
    """The interactions in a file or a named data set; in the report's train.csv if none is given.

    Raises InputError if there is no such file, or it can't be used.
    """
    if source is None:
        if not Path(DEFAULT_INPUT).is_file():
            raise InputError(
                f"{DEFAULT_INPUT}: no such file here; expected the report's UserId,ItemId file, "
                "or another one named by -i FILE"
            )
        source = DEFAULT_INPUT
    return load(source, notify=say)


def check_results(output: Path, source: str) -> None:
    """Raise InputError if a result would replace a file that is read, or one of a search."""
    for name in RESULTS:
        if source not in SETS and would_change(output / name, Path(source).expanduser()):
            raise InputError(f"-o {output}: {name} would change {source}: expected another folder")
    if (output / SEARCH).is_file():
        raise InputError(f"-o {output}: the folder of a search's run: expected another folder")


def make_folder(output: Path) -> None:
    """Make the output folder if it is missing. Raises InputError if it can't be written to."""
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"-o {output}: cannot be made ({error.strerror})") from None
    if not os.access(output, os.W_OK | os.X_OK):
        raise InputError(f"-o {output}: cannot be written to; expected a writable folder")


def search_epochs(
    split: Split,
    config: TrainConfig,
    metric: str,
    time_limit: float,
    rng: np.random.Generator,
    output: Path,
    device: str,
    engine: EngineName,
) -> list[EpochReport]:
    """Train with validation and early stopping; the best weights so far are always in best.pt.

    metric: decides. time_limit: seconds of training. output: the folder of best.pt. Returns the
    reports of all epochs.
    """
    model = new_model(split.train.n_users, split.train.n_items, config, rng)
    history = []
    say(f"{'epoch':>5} {'loss':>8} {metric:>8} {'best':>8} {'seconds':>8}")
    for report in train(
        model,
        split.train,
        split.valid,
        config,
        rng=rng,
        metric=metric,
        exclude=split.valid if config.leaky else None,
        device=device,
        engine=engine,
        time_limit=time_limit,
    ):
        history.append(report.without_evaluation())
        if report.epoch == report.best_epoch:
            save_weights(model, output / "best.pt")
        seconds = report.train_seconds + report.eval_seconds
        say(
            f"{report.epoch:>5} {report.loss:>8.4f} {report.metrics[metric]:>8.4f} "
            f"{report.best_value:>8.4f} {seconds:>8.2f}"
        )
    return history


def refit(
    everything: CSR,
    config: TrainConfig,
    epochs: int,
    rng: np.random.Generator,
    device: str,
    engine: EngineName,
) -> LFM:
    """A new model trained on every interaction for exactly `epochs` epochs."""
    model = new_model(everything.n_users, everything.n_items, config, rng)
    whole = config.model_copy(update={"epochs": epochs})
    for _ in train(model, everything, None, whole, rng=rng, device=device, engine=engine):
        pass
    return model


def new_model(n_users: int, n_items: int, config: TrainConfig, rng: np.random.Generator) -> LFM:
    """A model with weights drawn from `rng`, with the config's number of factors and spread."""
    return LFM(n_users, n_items, config.latent_factors, rng=rng, init_std=config.init_std)


def save_weights(model: LFM, path: Path) -> None:
    """Write the state_dict, on the CPU, loadable with `weights_only=True`; replaces the file
    atomically.
    """
    weights = {name: tensor.cpu() for name, tensor in model.state_dict().items()}
    with replacing(path, durable=False) as temporary, temporary.open("wb") as file:
        torch.save(weights, file)


def plot_history(history: Sequence[EpochReport], metric: str, path: Path, leaky: bool) -> None:
    """Training loss and validation metric per epoch, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    epochs = [report.epoch for report in history]
    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)
    left = figure.subplots()
    right = left.twinx()
    left.plot(epochs, [r.loss for r in history], color="tab:blue", marker=".")
    right.plot(epochs, [r.metrics[metric] for r in history], color="tab:orange", marker=".")
    left.set_xlabel("epoch")
    left.set_ylabel("training loss", color="tab:blue")
    right.set_ylabel(f"validation {metric}{' (leaky)' if leaky else ''}", color="tab:orange")
    best = history[-1].best_epoch
    left.axvline(best, color="gray", linestyle=":")
    left.set_title(f"best {metric} {history[-1].best_value:.4f} in epoch {best}")
    left.xaxis.set_major_locator(MaxNLocator(integer=True))
    with replacing(path, durable=False) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def say(line: str) -> None:
    """Print a line on stdout at once, even into a pipe."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _fail(message: str, code: int) -> int:
    sys.stderr.write(f"error: {one_line(message)}\n")
    return code
