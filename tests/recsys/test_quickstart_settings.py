from pathlib import Path

import pytest

from recsys.errors import ConfigError
from recsys.models.mf.config import Adam, Bce, Bpr, Even, Fixed, Hard
from recsys.quickstart.settings import (
    BceSettings,
    BprSettings,
    DataSettings,
    read_settings,
    torch_device,
    train_config,
)
from recsys.split import HoldOut, SplitPlan

CONFIG = Path(__file__).parents[2] / "config"

DATA = "split_mode: fixed\nval_n: 3\nneg_mode: fixed\nneg_sample_num: 7\n"
BCE = """\
device: cpu
latent_factors: 16
epochs: 9
lr: 1e-3
batch_size: 64
weight_decay: 1e-5
top_k: 10
"""
BPR = BCE + "margin: 2.5\nnum_candidate_neg_samples: 10\n"
BPR += "num_hard_neg_samples: 3\nnum_random_neg_samples: 2\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "x.yaml"
    path.write_text(text)
    return path


def data_of(folder: Path, text: str) -> DataSettings:
    return read_settings(write(folder, text), DataSettings)


def test_every_key_of_the_report_reaches_the_training(tmp_path: Path) -> None:
    data = data_of(tmp_path, DATA)
    assert data.plan() == SplitPlan("random", None, HoldOut("fixed", 3))
    path = write(tmp_path, BPR)
    config = train_config(data, read_settings(path, BprSettings), path)
    assert config.loss == Bpr(margin=2.5)
    assert config.negatives == Hard(candidates=10, hard=3, random=2)
    assert config.optimizer == Adam(lr=1e-3, weight_decay=1e-5)
    assert (config.latent_factors, config.epochs, config.batch_size) == (16, 9, 64)
    assert (config.patience, config.redraw, config.negatives_exclude) == (5, "once", "train")
    path = write(tmp_path, BCE)
    config = train_config(data, read_settings(path, BceSettings), path)
    assert config.loss == Bce()
    assert config.negatives == Fixed(count=7)


def test_other_modes(tmp_path: Path) -> None:
    text = "split_mode: ratio\nval_ratio: 0.2\nval_n: 9\nneg_mode: even\nnegatives_exclude: all\n"
    data = data_of(tmp_path, text + "patience: 0\n")
    assert data.plan() == SplitPlan("random", None, HoldOut("ratio", 0.2))
    path = write(tmp_path, BPR.replace("samples: 10", "samples: 0"))
    config = train_config(data, read_settings(path, BprSettings), path)
    assert config.negatives == Even()
    assert config.patience == 0
    assert config.negatives_exclude == "all"


@pytest.mark.parametrize(
    ("old", "new", "part"),
    [
        ("epochs: 9", "epoch: 9", "key 'epoch' is unknown; expected some of device,"),
        ("epochs: 9\n", "", "epochs field required"),
        ("lr: 1e-3", "lr: fast", "lr is 'fast': input should be a valid number"),
        ("lr: 1e-3", "lr: 0", "lr is 0"),
        ("device: cpu", "device: tpu", "device is 'tpu'"),
        ("top_k: 10", "top_k: 0", "top_k is 0"),
        ("samples: 3", "samples: 30", "num_hard_neg_samples (M) is 30: expected at most"),
        ("epochs: 9", "epochs: 9\nepochs: 8", "'epochs' is given twice"),
    ],
)
def test_mistakes_name_file_and_key(tmp_path: Path, old: str, new: str, part: str) -> None:
    path = write(tmp_path, BPR.replace(old, new, 1))
    with pytest.raises(ConfigError) as caught:
        train_config(data_of_default(), read_settings(path, BprSettings), path)
    assert str(caught.value).startswith(str(path))
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def data_of_default() -> DataSettings:
    return read_settings(CONFIG / "data.yaml", DataSettings)


def test_a_file_that_is_no_mapping(tmp_path: Path) -> None:
    for text in ("", "- 1\n", "word\n"):
        with pytest.raises(ConfigError, match="key: value"):
            data_of(tmp_path, text)


def test_the_shipped_files_are_valid() -> None:
    data = data_of_default()
    assert data.patience == 5
    assert data.time_limit == 240
    assert data.negatives_exclude == "train"
    for name, kind in (("train_bpr.yaml", BprSettings), ("train_bce.yaml", BceSettings)):
        settings = read_settings(CONFIG / name, kind)
        train_config(data, settings, CONFIG / name)
        assert settings.top_k == 50


def test_device(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert torch_device("cpu", tmp_path) == "cpu"
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert torch_device("gpu", tmp_path) == "cuda"
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ConfigError, match="torch finds none here"):
        torch_device("gpu", tmp_path)
