"""Options that several commands share, with one help text each."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli import complete
from orchestrator.errors import Problem, UsageError

BaseConfig = Annotated[
    Path | None,
    typer.Option("--base-config", help="TOML file of settings, or the config.yaml of a trial."),
]
Strategy = Annotated[
    str,
    typer.Option(
        "--strategy",
        help="Sweep template: a name in sweep_templates/ or the path of a TOML file.",
        autocompletion=complete.templates,
    ),
]
Search = Annotated[
    str | None,
    typer.Option(
        "--search",
        help="Search method instead of the template's: grid, random, sobol.",
        autocompletion=complete.among("grid", "random", "sobol"),
    ),
]
ScaleName = Annotated[
    str | None,
    typer.Option(
        "--scale",
        help="A smaller run of the same sweep: smoke fits two CPU cores.",
        autocompletion=complete.among("smoke"),
    ),
]
Gpus = Annotated[
    int | None, typer.Option("--gpus", help="GPUs to use; 0 trains on the CPU. Default: all.")
]
Tier = Annotated[
    str | None,
    typer.Option(
        "--tier",
        help="How runs are executed: auto, cpu, low_vram, high_vram, datacenter. Default: auto.",
        autocompletion=complete.tiers,
    ),
]
Seeds = Annotated[
    int | None, typer.Option("--seeds", min=1, help="Seeds a point, instead of the template's.")
]
MaxTrials = Annotated[
    int | None, typer.Option("--max-trials", min=1, help="Most trials the plan may have.")
]
Name = Annotated[str | None, typer.Option("--name", help="First part of the run folder's name.")]
ExecutorName = Annotated[
    str,
    typer.Option(
        "--executor",
        help="ray_tune: worker processes; inline: one after the other here.",
        autocompletion=complete.among("ray_tune", "inline"),
    ),
]
AnyExecutor = Annotated[
    str | None,
    typer.Option(
        "--executor",
        help="ray_tune or inline. Default: ray_tune, and inline for a pipeline.",
        autocompletion=complete.among("ray_tune", "inline"),
    ),
]
CohortSize = Annotated[
    int | None,
    typer.Option("--cohort", min=1, help="Trials that share a process. Default: by their length."),
]
Dashboard = Annotated[
    bool,
    typer.Option("--dashboard", help="Serve Ray's dashboard on 127.0.0.1, and gauges."),
]
Address = Annotated[
    str | None,
    typer.Option(
        "--address", help="Join the Ray cluster at HOST:PORT, or auto for the one running here."
    ),
]
Fresh = Annotated[bool, typer.Option("--fresh", help="Start anew, even if the same sweep exists.")]
Reuse = Annotated[
    str | None,
    typer.Option(
        "--reuse",
        metavar="RUN",
        help="Take trials over that finished in RUN, or with `auto` in any run.",
        show_default=False,
    ),
]
Strict = Annotated[
    bool,
    typer.Option("--strict", help="Refuse duplicate trials, and checkpoints that will not fit."),
]
TableFormat = Annotated[
    str,
    typer.Option(
        "--format",
        help="table, md, csv or json.",
        autocompletion=complete.among("table", "md", "csv", "json"),
    ),
]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Print data and errors only.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...",
        help="Settings (training.steps=100), groups (tier=cpu), axes (model.dim=64,128).",
        show_default=False,
        autocompletion=complete.settings,
    ),
]
Run = Annotated[
    str | None,
    typer.Argument(
        metavar="[RUN]",
        help="Run folder or its name. Default: the newest.",
        show_default=False,
        autocompletion=complete.runs,
    ),
]
AnyStrategy = Annotated[
    str | None,
    typer.Option(
        "--strategy",
        help="Sweep template. Default: a single run, without one.",
        autocompletion=complete.templates,
    ),
]
TrialAndChanges = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[[RUN] TRIAL] [KEY=VALUE]...",
        help="A trial of a sweep (its id or the start of it; of the newest run that has it), and settings.",
        show_default=False,
        autocompletion=complete.replay,
    ),
]
RunAndTrial = Annotated[
    list[str],
    typer.Argument(
        metavar="[RUN] TRIAL",
        help="Run (default: the newest that has it) and trial: its id or the start of it.",
        autocompletion=complete.run_and_trial,
    ),
]
RunAndChanges = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[RUN] [KEY=VALUE]...",
        help="Run folder or its name (default: the newest), and settings to change.",
        show_default=False,
        autocompletion=complete.changes,
    ),
]


def split_words(
    words: Sequence[str] | None, *, most_names: int, usage: str
) -> tuple[list[str], list[str]]:
    """Return the names among the positional arguments, and the settings.

    A word with `=` is a setting, unless it is the path of something that exists.

    Raises:
        UsageError: There are more names than the command takes.
    """
    names: list[str] = []
    settings: list[str] = []
    for word in words or ():
        is_setting = "=" in word and not os.path.lexists(word)
        (settings if is_setting else names).append(word)
    if len(names) > most_names:
        got = " ".join(names)
        raise UsageError(Problem(f"got {got}, expected {usage}", "command line", "key=value"))
    return names, settings
