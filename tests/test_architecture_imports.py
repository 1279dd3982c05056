"""Who may import whom, read from the sources and from a running program."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

LAYERS = (
    {"cli"},
    {"pipeline", "spectra_prediction"},
    {"plan_table", "why_table", "status", "schema", "trial_page", "replay"}
    | {"checkpoint_lookup", "evaluation_page", "tokenizer_table", "spectra_table", "data_table"},
    {"preview", "why", "fork", "doctor", "journal"},
    {"sweep", "forecast", "diagnostics"},
    {"plan", "reuse", "calibration", "verify"},
    {"automatic", "tier_memory"},
    {"trial"},
    {"reading", "scale", "progress_table"},
    {"layering"},
    {"request"},
    {"ablation", "template", "draw", "executors", "leaderboard", "watch", "revision"},
    {"group_axis", "progress"},
    {"space_table", "overrides", "space_check"},
    {"groups"},
    {"compose", "cohort", "launch", "referee", "objective", "events", "tier_question", "lookup"},
    {"explain", "names", "fitting", "lessons"},
    {"strategy", "ledger", "layout", "hardware", "toml_file", "shared_files", "provenance"}
    | {"signals", "spellings", "durations", "sweep_id"},
    {"space"},
    {"axis", "constraint"},
    {"familiar", "preflight", "starter"},
    {"interval", "errors", "placeholders", "settings"} | {"pace", "sparkline"},
)
"""The rooms of `orchestrator`, from the roof down. Each imports only from the rows below its own
(and, where it is a package, its own files)."""

ONLY_IMPORTER = {
    "ray": {
        f"orchestrator.executors.ray_{name}" for name in ("cluster", "metrics", "ranks", "tune")
    },
    "hydra": {"orchestrator.groups", "orchestrator.overrides"},
    "omegaconf": {"orchestrator.groups"},
    "typer": {"orchestrator.cli"},
    "rich": {"orchestrator.cli", "orchestrator.progress_table"},
    "tabulate": {
        "orchestrator.plan_table",
        "orchestrator.why_table",
        "orchestrator.tokenizer_table",
        "orchestrator.spectra_table",
        "orchestrator.data_table",
        "orchestrator.trial_page",
        "orchestrator.evaluation_page",
        "orchestrator.leaderboard",
    },
    "sqlite3": {"orchestrator.ledger"},
    "torch": {"trainer", "orchestrator.executors"},
    "jinja2": {"orchestrator.leaderboard"},
    "plotly": {"orchestrator.diagnostics"},
    "pyarrow": {"trainer.tasks.ariel"},
    "batman": {"trainer.tasks.ariel"},
    "sklearn": {"trainer.tasks.ariel"},
    "pynvml": {"orchestrator.hardware"},
    "optuna": {"orchestrator.strategy", "orchestrator.referee"},
    "scipy": {"orchestrator.strategy", "orchestrator.leaderboard", "trainer.tasks.ariel"},
    "pickle": set(),
}
"""Library to the modules, or packages, that may import it."""


def modules() -> dict[str, Path]:
    """Every module of ours by its dotted name."""
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for package in ("orchestrator", "trainer")
        for path in sorted((ROOT / package).rglob("*.py"))
    }


MODULES = modules()


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@functools.cache
def imports(path: Path, *, at_import: bool = False) -> tuple[str, ...]:
    """Return the modules that a file imports; only while it is imported itself, if asked."""
    nodes: list[ast.AST] = list(ast.walk(parsed(path)))
    if at_import:
        nodes = [
            node
            for node in parsed(path).body
            if not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))
        ]
    return tuple(named(nodes, path))


def named(nodes: list[ast.AST], path: Path) -> Iterator[str]:
    """Yield the modules that import statements among the nodes of a file name."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{path}: relative import"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in MODULES else node.module


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


@pytest.mark.parametrize("module", MODULES)
def test_the_trainer_knows_nothing_of_sweeps(module: str) -> None:
    if within(module, "trainer"):
        above = {"orchestrator", "ray", "hydra", "omegaconf", "optuna", "typer"}
        assert not above & {name.partition(".")[0] for name in imports(MODULES[module])}


@pytest.mark.parametrize("library", ONLY_IMPORTER)
def test_a_library_has_its_importers(library: str) -> None:
    importers = {m for m, path in MODULES.items() if any(within(i, library) for i in imports(path))}
    allowed = ONLY_IMPORTER[library]
    assert not {m for m in importers if not any(within(m, package) for package in allowed)}


def test_only_the_console_prints() -> None:
    def prints(node: ast.AST) -> bool:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            return node.func.id == "print"
        return isinstance(node, ast.Attribute) and ast.unparse(node) in (
            "sys.stdout",
            "sys.stderr",
            "typer.echo",
            "typer.secho",
        )

    printers = {
        module
        for module, path in MODULES.items()
        if any(prints(node) for node in ast.walk(parsed(path)))
    }
    assert printers == {"orchestrator.cli.console"}


def room(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == "orchestrator" and len(parts) > 1 else None


def test_every_room_is_in_the_table_once() -> None:
    listed = [name for layer in LAYERS for name in layer]
    assert sorted(listed) == sorted({room(m) for m in MODULES} - {None})  # type: ignore[type-var]


@pytest.mark.parametrize("module", [m for m in MODULES if room(m) is not None])
def test_a_room_imports_only_from_below(module: str) -> None:
    level = {name: depth for depth, layer in enumerate(LAYERS) for name in layer}
    own = room(module)
    for name in imports(MODULES[module]):
        other = room(name)
        if other is not None and other != own:
            assert level[other] > level[str(own)], f"{module} imports {name}"


def test_no_module_is_imported_in_a_circle() -> None:
    """A package's own `__init__` counts; an import inside a function does not."""
    graph = {
        module: {name for name in imports(path, at_import=True) if name in MODULES}
        for module, path in MODULES.items()
    }
    done: set[str] = set()

    def visit(module: str, above: tuple[str, ...]) -> None:
        assert module not in above, " -> ".join((*above, module))
        if module not in done:
            for name in graph[module]:
                visit(name, (*above, module))
            done.add(module)

    for module in graph:
        visit(module, ())


HEAVY = ("torch", "ray", "pandas", "optuna", "hydra", "omegaconf", "scipy", "plotly", "numpy")


@pytest.mark.parametrize(
    ("code", "heavy"),
    [
        ("import orchestrator.cli.app", HEAVY),
        ("import orchestrator.cli.spectramind", HEAVY),
        ("import trainer.config", HEAVY),
        (
            "import orchestrator.plan",
            ("torch", "ray", "hydra", "omegaconf", "pandas", "optuna", "scipy"),
        ),
        (
            "import orchestrator.sweep",
            ("torch", "ray", "hydra", "omegaconf", "pandas", "optuna", "scipy"),
        ),
        (
            "import sys; sys.argv = ['arbiter', '--help']\n"
            "from orchestrator.cli.app import run\n"
            "try: run()\n"
            "except SystemExit as end: assert end.code == 0",
            HEAVY,
        ),
        (
            "import os, sys; sys.argv = ['arbiter']\n"
            "os.environ |= {'_ARBITER_COMPLETE': 'complete_bash', 'COMP_CWORD': '2'}\n"
            "os.environ['COMP_WORDS'] = 'arbiter train training.lea'\n"
            "from orchestrator.cli.app import run\n"
            "try: run()\n"
            "except SystemExit as end: assert end.code == 0",
            HEAVY,
        ),
    ],
    ids=["arbiter", "spectramind", "trainer.config", "plan", "sweep", "--help", "completion"],
)
def test_nothing_heavy_is_loaded_early(code: str, heavy: tuple[str, ...]) -> None:
    script = f"{code}\nimport sys\nassert not {{*sys.modules}} & {{*{heavy!r}}}, {{*sys.modules}} & {{*{heavy!r}}}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
