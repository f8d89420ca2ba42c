"""The MLflow server as `ui` runs it: its pages open on model training, without its assistant.

`python -m search.tracking.ui_server server ...` is `mlflow server ...` with a changed first page:
MLflow 3.17 keeps only in the browser what its pages open with, and has no setting for it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from search.tracking.views import SEARCHES, VIEW_TAG, view_address
from search.tracking.where import EXPERIMENT

# Stored in a browser that has no such setting yet; names and versions are those of MLflow.
_DEFAULTS = {
    "mlflow.workflowType_v1": "machine_learning",
    "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1": True,
    "mlflow.telemetry.info.alert.dismissed_v1": True,
    "mlflow.settings.telemetry.enabled_v1": False,
}
NARROW = 700  # pixels: below, the side bar would take half of the page, and is folded
# Below that, files stand above what is shown of one, not beside it; what is shown gets its height.
_STYLE = f"""
[data-assistant-ui] {{ display: none !important }}
@media (max-width: {NARROW - 1}px) {{
  .mlflow-artifact-view {{ flex-direction: column !important; overflow: auto !important }}
  .mlflow-artifact-view > :first-child {{
    width: 100% !important; flex: none !important;
    height: 15vh !important; min-height: 0 !important; overflow: auto !important
  }}
  .mlflow-artifact-right {{
    width: 100% !important; min-width: 0 !important; max-width: none !important;
    flex: none !important; height: 85vh !important
  }}
}}
"""
# MLflow's own links lead to its start page and to runs without a view, in which names are cut and
# no column has a metric. `EXPERIMENT` and any other experiment that has our view open with it. The
# page adds its defaults to a bare address at once; what a person asks for by filters stays.
_HOME = f"""
const bare = /^(?:#?\\/?|#\\/experiments\\/(\\d+)(?:\\/runs)?\\/?)(?:\\?workflowType=[^&]*)?$/;
async function home() {{
  const found = bare.exec(location.hash);
  if (!found) return;
  const asked = found[1] ? `get?experiment_id=${{found[1]}}`
    : `get-by-name?experiment_name={EXPERIMENT}`;
  try {{
    const answer = await fetch(`ajax-api/2.0/mlflow/experiments/${{asked}}`);
    const one = (await answer.json()).experiment;
    const ours = one?.tags?.some((tag) => tag.key === {json.dumps(VIEW_TAG + SEARCHES)});
    const now = location.hash, runs = `#/experiments/${{one?.experiment_id}}/runs?`;
    const there = bare.test(now) || (now.startsWith(runs) && !now.includes("viewStateShareKey"));
    if (ours && there)
      location.replace({json.dumps(view_address("ID", SEARCHES))}.replace("ID", one.experiment_id));
  }} catch {{ /* a server that does not answer says so on its page */ }}
}}
for (const name of ["pushState", "replaceState"]) {{
  const usual = history[name];
  history[name] = function (...more) {{ usual.apply(this, more); home(); }};
}}
addEventListener("hashchange", home);
home();
"""
_HEAD = f"""<head><style>{_STYLE}</style><script>
try {{
  for (const [name, value] of Object.entries({json.dumps(_DEFAULTS)}))
    if (localStorage.getItem(name) === null) localStorage.setItem(name, JSON.stringify(value));
}} catch {{ /* a browser that keeps nothing shows MLflow's own defaults */ }}
if (innerWidth < {NARROW}) new MutationObserver((_, observer) => {{
  const button = document.querySelector('[aria-label="Toggle sidebar"]');
  if (button) {{ observer.disconnect(); button.click(); }}
}}).observe(document, {{childList: true, subtree: true}});
{{{_HOME}}}
</script>"""


def first_page(html: str) -> str:
    """MLflow's page with our defaults; unchanged where it has no head to put them in."""
    return html.replace("<head>", _HEAD, 1)


def create_app() -> Any:
    """MLflow's application with our first page."""
    import mlflow.server
    from mlflow.server.fastapi_app import create_fastapi_app
    from starlette.responses import HTMLResponse
    from starlette.routing import Route

    index = Path(mlflow.server.__file__).parent / "js" / "build" / "index.html"
    page = first_page(index.read_text(encoding="utf-8"))
    app = create_fastapi_app()

    def answer(_request: Any) -> HTMLResponse:
        return HTMLResponse(page, headers={"Cache-Control": "no-store"})

    app.router.routes.insert(0, Route("/", answer))
    return app


def main(arguments: list[str]) -> None:
    """Run MLflow's command line; its server starts our application."""
    import mlflow.server
    from mlflow.cli import cli

    built = mlflow.server._build_uvicorn_command

    def with_our_pages(*args: Any, **options: Any) -> list[str]:
        command = list(built(*args, **options))
        return [*command[:-1], "--factory", f"{__spec__.name}:create_app"]

    mlflow.server._build_uvicorn_command = with_our_pages
    cli(arguments, prog_name="mlflow")


if __name__ == "__main__":
    main(sys.argv[1:])
