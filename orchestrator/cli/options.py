"""Options that several commands share, with one help text each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

BaseConfig = Annotated[
    Path | None,
    typer.Option("--base-config", help="TOML file of settings, or the config.yaml of a trial."),
]
Strategy = Annotated[
    str,
    typer.Option(
        "--strategy", help="Sweep template: a name in sweep_templates/ or the path of a TOML file."
    ),
]
Search = Annotated[
    str | None,
    typer.Option("--search", help="Search method instead of the template's: grid, random, sobol."),
]
ScaleName = Annotated[
    str | None,
    typer.Option("--scale", help="A smaller run of the same sweep: smoke fits two CPU cores."),
]
Gpus = Annotated[
    int | None, typer.Option("--gpus", help="GPUs to use; 0 trains on the CPU. Default: all.")
]
Tier = Annotated[
    str | None,
    typer.Option(
        "--tier",
        help="How runs are executed: auto, cpu, low_vram, high_vram, datacenter. Default: auto.",
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
        "--executor", help="ray_tune: worker processes; inline: one after the other here."
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
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Print data and errors only.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...",
        help="Settings (training.steps=100), groups (tier=cpu), axes (model.dim=64,128).",
        show_default=False,
    ),
]
Run = Annotated[
    str | None,
    typer.Argument(
        metavar="[RUN]", help="Run folder or its name. Default: the newest.", show_default=False
    ),
]
