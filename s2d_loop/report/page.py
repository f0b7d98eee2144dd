"""One self-contained HTML page for a run: it opens anywhere, with no network.

Text in it comes from models and from data, so it is hostile: Jinja2 escapes every value of the
template, `_json` makes the charts' data unable to end its script element, and a content security
policy lets only the page's own two scripts run, by their hashes, and lets nothing be fetched.
"""

import base64
import functools
import hashlib
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import jinja2
import yaml

from s2d_loop.config.secrets import masked
from s2d_loop.report import charts, summary, text
from s2d_loop.report.examples import Shown, pick
from s2d_loop.report.judgement import judgement
from s2d_loop.report.view import Iteration, RunView
from s2d_loop.terminal import visible

NEWEST = 8
"""Iterations shown open in the tables; earlier ones are folded away."""
MOST_EARLIER = 200
"""Iterations in the folded table; of more, those at which the gate changed its mind come first."""
MOST_LINES = 12
"""Lines under an answer of the judgement; a run of many tasks has more."""
LONGEST_TEXT = 4000
MOST_CALLS = 48

_DRAW = """
const charts = JSON.parse(document.getElementById("charts").textContent);
for (const [id, spec] of Object.entries(charts)) {
  vegaEmbed(document.getElementById(id), spec, {actions: false, renderer: "svg", tooltip: {theme: "page"}})
    .catch((error) => { document.getElementById(id).textContent = "This chart failed: " + error.message; });
}
"""


def render(view: RunView, examples: Iterable[Shown], config: Mapping[str, Any] | None = None) -> str:
    """The page of a run; `config` is the resolved configuration, the ledger's own unless given."""
    drawn = _Drawn()
    rounds = view.rounds
    times, times_width, times_unit = charts.times(view)
    body: dict[str, Any] = {
        "view": view,
        "quarantine": summary.quarantine(view),
        "judgement": judgement(view),
        "most_lines": MOST_LINES,
        "spent": [(title, drawn.add(chart)) for title, chart in _spent(view)],
        "summaries": view.summaries,
        "systems": [
            (t, drawn.add(charts.accuracy(view, t)), drawn.add(charts.tokens(view, t)))
            for t in _measured(view)
        ],
        "outcomes": [(t, drawn.add(charts.outcomes(view, t))) for t in view.tasks if view.signs(t)],
        "outcome_totals": {t: _outcome_totals(view, t) for t in view.tasks},
        "reasons": charts.reasons(view),
        "marked": len(view.iterations) <= charts.MARKED_POINTS,
        "signs": [(title, what, drawn.add(chart)) for title, what, chart in _signs(view)],
        "pinned": (view.config.get("generate") or {}).get("teacher") == "start",
        "task_colors": charts.task_colors(view),
        "times": drawn.add((times, times_width)) if rounds else None,
        "times_unit": times_unit,
        "stage_colors": charts.stage_colors(view),
        "newest": [_row(i) for i in reversed(rounds[-NEWEST:])],
        "earlier": [_row(i) for i in reversed(_telling(rounds[:-NEWEST]))],
        "num_earlier": len(rounds[:-NEWEST]),
        "examples": pick(examples),
        "config": yaml.safe_dump(masked(_plain(config or view.config)), sort_keys=False, allow_unicode=True),
        "widths": drawn.widths,
        "charts": _json(drawn.specs),
        "vega": vega_bundle(),
        "draw": _DRAW,
        "script_hashes": [_hash(vega_bundle()), _hash(_DRAW)],
        "longest": LONGEST_TEXT,
        "most_calls": MOST_CALLS,
    }
    return _environment().get_template("page.html.j2").render(body)


@functools.cache
def vega_bundle() -> str:
    """Vega, Vega-Lite and vega-embed as one script, out of the vl-convert package."""
    import altair
    import vl_convert

    major_minor = ".".join(altair.SCHEMA_VERSION.lstrip("v").split(".")[:2])
    bundle: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=major_minor)
    if "</script" in bundle.lower() or "<!--" in bundle:
        raise ValueError("the Vega bundle would end its own script element: pin another vl-convert-python")
    return bundle


class _Drawn:
    """The charts that a page holds, numbered as they are added."""

    def __init__(self) -> None:
        self.specs: dict[str, Any] = {}
        self.widths: dict[str, int] = {}

    def add(self, chart: tuple[Any, int]) -> str:
        name = f"chart{len(self.specs)}"
        self.specs[name], self.widths[name] = chart
        return name


def _measured(view: RunView) -> list[str]:
    return [task for task in view.tasks if view.measured(task)]


def _signs(view: RunView) -> Iterable[tuple[str, str, Any]]:
    for name, (title, what, _) in charts.SIGNS.items():
        if (chart := charts.sign(view, name)) is not None:
            yield title, what, chart


def _spent(view: RunView) -> Iterable[tuple[str, Any]]:
    for title, chart in (
        ("System 2 calls an input", charts.spent(view, lambda spending: spending.calls)),
        ("System 2 tokens an input", charts.spent(view, lambda spending: spending.tokens)),
    ):
        if chart is not None:
            yield title, chart


def _outcome_totals(view: RunView, task: str) -> dict[str, int]:
    signs = [s for _, s in view.signs(task)]
    return {"inputs": sum(s.inputs for s in signs), "kept": sum(s.kept for s in signs)}


def _telling(rounds: Sequence[Iteration]) -> list[Iteration]:
    """At most `MOST_EARLIER` iterations in their order: turns of the gate's decision, then the newest."""
    turns = [now for before, now in itertools.pairwise(rounds) if now.decision != before.decision]
    chosen = {each.number for each in turns[-MOST_EARLIER:]}
    newest = (each.number for each in reversed(rounds) if each.number not in chosen)
    chosen |= set(itertools.islice(newest, MOST_EARLIER - len(chosen)))
    return [each for each in rounds if each.number in chosen]


def _row(iteration: Iteration) -> dict[str, Any]:
    """One line of the table of iterations."""
    train, generate = iteration.facts("train"), iteration.facts("generate")
    losses = train.get("losses") or []
    signs = iteration.signs.values()
    return {
        "number": iteration.number,
        "inputs": sum(s.inputs for s in signs) if signs else None,
        "kept": sum(s.kept for s in signs) if signs else None,
        "training": iteration.facts("pool").get("training"),
        "steps": train.get("steps"),
        "loss": losses[-1] if losses else None,
        "speed": generate.get("tokens_per_second"),
        "seconds": iteration.seconds,
        "decision": iteration.decision,
        "sentence": iteration.sentence,
        "gate": iteration.facts("gate").get("by_task") or {},
    }


def _plain(value: Any) -> Any:
    """`value` in the types that YAML knows."""
    return json.loads(json.dumps(value, default=str))


def _json(value: Any) -> str:
    """JSON that can stand inside a script element, whatever the strings in it say."""
    dumped = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return dumped.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _hash(script: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _when(iso: str) -> str:
    """A time to the minute, or the text itself where it is no time."""
    try:
        return datetime.fromisoformat(iso).strftime("%Y-%m-%d %H:%M %Z").strip()
    except ValueError:
        return iso


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("s2d_loop.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": text.percent,
        "number": text.number,
        "times": text.times,
        "duration": text.duration,
        "visible": visible,
        "one_line": text.one_line,
        "when": _when,
        "verdict": summary.sentence,
    }
    environment.globals["interval"] = text.interval
    return environment
