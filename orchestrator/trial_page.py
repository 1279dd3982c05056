"""Everything about one trial, for a person or as JSON."""

from __future__ import annotations

import contextlib
import json
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tabulate import tabulate

from orchestrator.layout import RunDirectory
from orchestrator.leaderboard.text import brief, duration, one_line, plain, setting, spelled
from orchestrator.ledger import Event, Ledger, TrialRecord
from orchestrator.objective import Objective
from orchestrator.sparkline import sparkline
from trainer.grokking import STATE, in_words

FORMATS = ("table", "json")
LAST_ROWS, LAST_LINES, CURVE_WIDTH = 8, 20, 60
LONGEST_LOG_BYTES = 16_384


@dataclass(frozen=True)
class TrialPage:
    """What is known of a trial.

    Args:
        directory: Its sweep's.
        trial: As the ledger has it.
        objective: What the sweep is ranked by.
        rows: `(step, metrics)`, all of them.
        events: Those that concern it.
        checkpoints: Names of its checkpoints, oldest first.
        log: The last lines of its log; empty where it wrote none.
    """

    directory: RunDirectory
    trial: TrialRecord
    objective: Objective
    rows: Sequence[tuple[int, dict[str, float]]]
    events: Sequence[Event]
    checkpoints: Sequence[str]
    log: Sequence[str]

    @property
    def command(self) -> str:
        """What trains it again."""
        config = f"{self.directory.shown()}/trials/{self.trial.id}/config.yaml"
        return f"arbiter train --base-config {shlex.quote(config)}"

    @property
    def grokking(self) -> str:
        """What its last evaluation says of memorised and generalised; empty for neither."""
        last = next((row for _, row in reversed(self.rows) if STATE in row), {})
        return in_words(self.trial.final or last)

    @property
    def curve(self) -> list[float]:
        """The objective by step; the training loss where it is only known at the end."""
        return [row[self.curve_metric] for _, row in self.rows if self.curve_metric in row]

    @property
    def curve_metric(self) -> str:
        """The metric of the curve."""
        known = {name for _, row in self.rows for name in row}
        return self.objective.metric if self.objective.metric in known else "train/loss"


def read_trial_page(directory: RunDirectory, trial_id: str) -> TrialPage:
    """Read what there is of a trial; takes no lock.

    Args:
        directory: The sweep's.
        trial_id: From `lookup.find_trial`.

    Raises:
        StorageError: The ledger is damaged.
    """
    with contextlib.closing(Ledger.read(directory.ledger)) as ledger:
        trial = ledger.trial(trial_id)
        rows = ledger.rows(trial.id)
        events = [event for event in ledger.events() if event.trial_id == trial.id]
        objective = Objective(**ledger.sweep()["objective"])
    folder = directory.trial(trial.id)
    checkpoints = sorted(path.name for path in (folder / "checkpoints").glob("*step-*"))
    kept = [name for name in checkpoints if not name.startswith(".")]
    log = _tail(folder / "log.txt")
    return TrialPage(directory, trial, objective, rows, events, kept, log)


def render_trial(page: TrialPage, output: str) -> str:
    """Return the page in one of `FORMATS`."""
    return _json(page) if output == "json" else "\n\n".join(_blocks(page)) + "\n"


def _blocks(page: TrialPage) -> Iterator[str]:
    trial = page.trial
    yield tabulate(list(_facts(page)), tablefmt="plain", disable_numparse=True)
    if page.curve:
        shown = sparkline(page.curve, CURVE_WIDTH)
        first, last = brief(page.curve[0]), brief(page.curve[-1])
        yield f"{one_line(page.curve_metric)} from {first} to {last}\n{shown}"
    if page.rows:
        yield _row_table(page)
    if trial.final:
        pairs = [[one_line(name), brief(value)] for name, value in trial.final.items()]
        yield "At the end\n" + tabulate(pairs, tablefmt="plain", disable_numparse=True)
    if page.log:
        yield "The end of its log\n" + "\n".join(spelled(line) for line in page.log)
    yield f"Again: {spelled(page.command)}"


def _facts(page: TrialPage) -> Iterator[list[str]]:
    trial = page.trial
    steps = f"step {trial.step} of {trial.config['training']['steps']}"
    attempts = f"{trial.attempts} {'attempt' if trial.attempts == 1 else 'attempts'}"
    deaths = f", its process died {trial.deaths} times" if trial.deaths else ""
    yield ["trial", f"{trial.id} of {one_line(page.directory.shown())}"]
    for key, value in {**trial.changed, "training.seed": trial.seed}.items():
        yield [one_line(key), setting(value)]
    state = trial.state.value if trial.reason is None else trial.reason.value
    yield ["state", f"{state}, {steps}, {attempts}{deaths}, {duration(trial.active_s)}"]
    if trial.detail:
        yield ["detail", one_line(trial.detail)]
    if page.grokking:
        yield ["grokking", page.grokking]
    yield ["parameters", f"{trial.parameters:,}"]
    for event in page.events:
        if event.detail and event.kind in ("started", "died", "stepped_down", "learned"):
            yield [event.kind.replace("_", " "), one_line(event.detail)]
    folder = page.directory.trial(trial.id)
    for name in ("config.yaml", "log.txt", "evaluations", "tb"):
        if (folder / name).exists():
            yield [name, one_line(f"{page.directory.shown()}/trials/{trial.id}/{name}")]
    if page.checkpoints:
        yield ["checkpoints", ", ".join(page.checkpoints)]


def _row_table(page: TrialPage) -> str:
    last = page.rows[-LAST_ROWS:]
    names = list(dict.fromkeys(name for _, row in last for name in row))
    cells = [
        [step, *(brief(row[name]) if name in row else "" for name in names)] for step, row in last
    ]
    count = f"{len(page.rows)} row{'' if len(page.rows) == 1 else 's'}"
    shown = f"{count}, the last {len(last)}" if len(last) < len(page.rows) else count
    headers = ["step", *(one_line(name) for name in names)]
    align = ["right"] * len(headers)
    return f"{shown}\n" + tabulate(cells, headers, disable_numparse=True, colalign=align)


def _json(page: TrialPage) -> str:
    trial, folder = page.trial, f"{page.directory.shown()}/trials/{page.trial.id}"
    document = {
        "id": trial.id,
        "run_directory": page.directory.shown(),
        "point_id": trial.point_id,
        "seed": trial.seed,
        "changed": trial.changed,
        "state": trial.state.value,
        "reason": trial.reason.value if trial.reason is not None else None,
        "detail": trial.detail,
        "step": trial.step,
        "attempts": trial.attempts,
        "deaths": trial.deaths,
        "active_s": trial.active_s,
        "parameters": trial.parameters,
        "flops": trial.flops,
        "objective": page.objective.metric,
        "config": trial.config,
        "rows": [{"step": step, **row} for step, row in page.rows],
        "final": trial.final,
        "grokking": page.grokking,
        "checkpoints": [f"{folder}/checkpoints/{name}" for name in page.checkpoints],
        "log": list(page.log),
        "command": page.command,
    }
    return json.dumps(plain(document), indent=1, allow_nan=False) + "\n"


def _tail(path: Path) -> list[str]:
    """Return the last lines of a text; what is no text in it is replaced."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - LONGEST_LOG_BYTES))
            text: Any = file.read().decode("utf-8", errors="replace")
    except OSError:
        return []
    return [line.expandtabs(4) for line in text.splitlines()[-LAST_LINES:]]
