from collections.abc import Callable
from pathlib import Path

import pytest

from recsys.data.read import Dataset, load_path
from recsys.errors import InputError


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str | bytes], Path]:
    """Writes a file of the given name and returns its path."""

    def write_file(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write_file


def pairs(data: Dataset) -> list[tuple]:
    """(user id, item id) of every interaction, each user's in the order of its history."""
    whole = data.interactions
    users = whole.csr.users()
    found = sorted(
        zip(users.tolist(), whole.rank.tolist(), whole.csr.indices.tolist(), strict=True)
    )
    return [(whole.user_ids[u], whole.item_ids[i]) for u, _, i in found]


def refusal(path: Path, **options: object) -> str:
    """The message of the `InputError` that reading `path` must raise."""
    with pytest.raises(InputError) as caught:
        load_path(path, **options)  # type: ignore[arg-type]
    message = str(caught.value)
    assert message.isprintable()
    return message
