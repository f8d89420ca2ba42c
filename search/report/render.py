"""A page as one file that works offline and executes nothing of what it shows.

It has one small script for sorting, copying and highlighting. Jinja2 escapes everything, and a
content security policy allows only that script, by its hash, and no network access.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from search import words

TEMPLATES = Path(__file__).resolve().parent / "templates"


def rendered(template: str, context: Mapping[str, Any]) -> str:
    """One of the project's templates with the values of `context`, which are escaped."""
    script = (TEMPLATES / "report.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": words.number,
        "short": words.short,
        "baseline": words.baseline_name,
        "duration": words.duration,
        "instant": words.instant,
        "unbroken": words.unbroken,
    }
    # Both are files of the project, which contain no values of a run.
    return environment.get_template(template).render(
        script=Markup(script),
        script_digest=digest,
        style=Markup((TEMPLATES / "report.css").read_text(encoding="utf-8")),
        **context,
    )
