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


def photograph(page: Path, target: Path, width: int, height: int, part: str = "") -> bool:
    """Write a picture (PNG) of an HTML file; False where there is no Chromium.

    width, height: of the picture. part: the id of a heading, whose section alone is shown, since
    Chromium takes no pictures of pages that were scrolled; else the page from its top.
    """
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        return False
    with tempfile.TemporaryDirectory() as profile:
        if part:
            alone = f"<style>header, section:not(:has(#{part})) {{ display: none }}</style></head>"
            text = page.read_text(encoding="utf-8").replace("</head>", alone, 1)
            page = Path(profile, page.name)
            page.write_text(text, encoding="utf-8")
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
