"""Pictures of pages, taken by headless Chromium."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

FLAGS = (
    "--headless --no-sandbox --disable-gpu --no-first-run --hide-scrollbars "
    "--disable-background-networking --disable-component-update --disable-sync "
    "--virtual-time-budget=5000"
)


def photograph(page: Path, target: Path, width: int, height: int) -> bool:
    """Write a picture (PNG) of the top of an HTML file; False where there is no Chromium."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        return False
    with tempfile.TemporaryDirectory() as profile:
        subprocess.run(
            [
                *(program, *FLAGS.split(), f"--user-data-dir={profile}"),
                *(f"--window-size={width},{height}", f"--screenshot={target}", page.as_uri()),
            ],
            capture_output=True,
            timeout=120,
            check=True,
        )
    return target.is_file()
