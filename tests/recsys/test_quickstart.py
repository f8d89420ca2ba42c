"""run.sh end to end, as a person runs it."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from recsys.errors import DivergedError
from recsys.evaluation import evaluate
from recsys.models.mf.model import LFM
from recsys.quickstart import main as quickstart
from recsys.split import HoldOut, SplitPlan, make_split

ROOT = Path(__file__).parents[2]
DATA = """\
split_mode: ratio
val_ratio: 0.2
neg_mode: fixed
neg_sample_num: 20
seed: 3
"""
TRAIN = """\
device: cpu
latent_factors: 8
epochs: 6
lr: 0.05
batch_size: 32
weight_decay: 1e-5
top_k: 10
"""
HARD = "margin: 0.5\nnum_candidate_neg_samples: 10\n"
HARD += "num_hard_neg_samples: 2\nnum_random_neg_samples: 1\n"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with train.csv (ids far from 0..n-1) and small settings."""
    rng = np.random.default_rng(0)
    lines = ["UserId,ItemId"]
    for user in range(40):
        own = (user % 4) * 15 + rng.permutation(15)[:10]
        lines.append(f"{user * 7 + 1000}," + " ".join(str(i * 3 + 50) for i in own))
    (tmp_path / "train.csv").write_text("\n".join(lines) + "\n")
    config = tmp_path / "config"
    config.mkdir()
    (config / "data.yaml").write_text(DATA)
    (config / "train_bpr.yaml").write_text(TRAIN + HARD)
    (config / "train_bce.yaml").write_text(TRAIN)
    return tmp_path


def run(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(ROOT / "run.sh"), *arguments],
        cwd=place,
        env=os.environ | {"PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def read_lists(path: Path) -> dict[int, list[int]]:
    header, *lines = path.read_text().splitlines()
    assert header == "UserId,ItemId"
    pairs = (line.split(",") for line in lines)
    return {int(user): [int(i) for i in items.split()] for user, items in pairs}


@pytest.mark.parametrize("flags", [(), ("-bce",)], ids=["bpr", "bce"])
def test_one_training_one_submission(place: Path, flags: tuple[str, ...]) -> None:
    done = run(place, "-o", "out/deep", "--config", "config", *flags)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    out = place / "out" / "deep"
    assert sorted(p.name for p in out.iterdir()) == ["best.pt", "submission.csv", "training.png"]
    given, answer = read_lists(place / "train.csv"), read_lists(out / "submission.csv")
    assert answer.keys() == given.keys()
    catalogue = {i for items in given.values() for i in items}
    own_group = 0
    for user, items in answer.items():
        assert len(items) == len(set(items)) == 10
        assert not set(items) & set(given[user])
        assert set(items) <= catalogue
        group = {(i - 50) // 3 // 15 for i in given[user]}
        own_group += sum((i - 50) // 3 // 15 in group for i in items[:5])
    # each user has 5 unseen items of the own group: learned, they come first
    assert own_group > 0.9 * 5 * len(answer)
    assert (out / "training.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    # best.pt is the epoch that was reported as best, not the last
    weights = torch.load(out / "best.pt", weights_only=True)
    model = LFM(40, 60, 8, rng=np.random.default_rng(0))
    model.load_state_dict(weights)
    dataset = quickstart.read_input(str(place / "train.csv"))
    plan = SplitPlan("random", None, HoldOut("ratio", 0.2))
    split = make_split(dataset, plan, 3)
    value = evaluate(model, split.train, split.valid, ["map@10"]).values["map@10"]
    assert f"best map@10 {value:.4f} in epoch " in done.stdout
    assert f"validation map@10 {value:.4f} ({split.name})" in done.stdout
    assert "LEAKY" not in done.stdout


def test_the_leak_is_named_wherever_its_number_is_shown(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = place / "config" / "data.yaml"
    data.write_text(DATA + "negatives_exclude: all\n")
    arguments = ["-o", str(place / "o"), "-i", str(place / "train.csv")]
    assert quickstart.main([*arguments, "--config", str(place / "config")]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert any(line.startswith("negatives_exclude is all") and "LEAKY" in line for line in shown)
    assert "LEAKY" in next(line for line in shown if line.startswith("validation map@10"))


def test_the_same_seed_writes_the_same_submission(place: Path) -> None:
    texts = []
    for name in ("a", "b"):
        arguments = ["-o", str(place / name), "-i", str(place / "train.csv")]
        assert quickstart.main([*arguments, "--config", str(place / "config")]) == 0
        texts.append((place / name / "submission.csv").read_text())
    assert texts[0] == texts[1]


def test_mistakes_are_one_line_and_leave_nothing(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)

    def told(*arguments: str) -> str:
        assert quickstart.main(["-o", "out", "--config", "config", *arguments]) == 2
        shown = capsys.readouterr()
        assert shown.err.startswith("error: ")
        assert shown.err.count("\n") == 1
        return shown.err

    assert "none.csv" in told("-i", "none.csv")
    assert "nowhere/data.yaml: cannot be read" in told("--config", "nowhere")
    (place / "config" / "train_bce.yaml").write_text(TRAIN.replace("top_k: 10", "top_k: 61"))
    assert "top_k is 61, but the data has only 60 items" in told("-bce")
    (place / "train.csv").rename(place / "other.csv")
    assert told().startswith("error: train.csv: no such file here; expected the report's")
    assert not (place / "out").exists()
    (place / "file").write_text("")
    assert told("-o", "file", "-i", "other.csv").startswith("error: -o file: cannot be made")


def test_wrong_usage_exits_with_2(place: Path) -> None:
    done = run(place)
    assert done.returncode == 2
    assert "required: -o" in done.stderr
    assert done.stdout == ""


def test_divergence_is_told_in_one_line(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverge(*_: object, **__: object) -> None:
        raise DivergedError(2, "{}")

    monkeypatch.setattr(quickstart, "train", diverge)
    arguments = ["-o", str(place / "o"), "-i", str(place / "train.csv"), "-bce"]
    assert quickstart.main([*arguments, "--config", str(place / "config")]) == 1
    shown = capsys.readouterr().err
    assert shown.startswith("error: training diverged (NaN or overflow) in epoch 2")
    assert shown.count("\n") == 1


def test_results_do_not_replace_what_is_read(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    (place / "out").mkdir()
    (place / "train.csv").rename("out/submission.csv")
    before = (place / "out" / "submission.csv").read_bytes()
    (place / "train.csv").symlink_to("out/submission.csv")
    (place / "run").mkdir()
    (place / "run" / "journal.jsonl").write_text("{}\n")
    for args, words in (
        (["-o", "out", "-i", "train.csv"], "submission.csv would change train.csv"),
        (["-o", "out/more", "-i", "out"], "submission.csv would change out"),
        (["-o", "run", "-i", "train.csv"], "the folder of a search's run"),
    ):
        assert quickstart.main([*args, "--config", "config"]) == 2
        assert words in capsys.readouterr().err
    assert (place / "out" / "submission.csv").read_bytes() == before
    assert sorted(path.name for path in (place / "out").iterdir()) == ["submission.csv"]


def test_a_folder_that_is_gone(place: Path) -> None:
    (place / "gone").mkdir()
    script = 'cd "$1"; rmdir "$1"; exec "$2" -P -m recsys.quickstart -o "$1"'
    done = subprocess.run(
        ["bash", "-c", script, "-", str(place / "gone"), sys.executable],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: the current folder was deleted")


def test_settings_in_a_pipe_are_not_waited_for(place: Path, capsys: pytest.CaptureFixture) -> None:
    (place / "config" / "data.yaml").unlink()
    os.mkfifo(place / "config" / "data.yaml")
    assert quickstart.main(["-o", str(place / "x"), "--config", str(place / "config")]) == 2
    assert "data.yaml: cannot be read (not a regular file)" in capsys.readouterr().err
