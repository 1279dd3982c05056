"""Ray's dashboard, the gauges and a cluster that is joined, over HTTP while a sweep runs."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.errors import Exit, UsageError
from orchestrator.executors import Execution, find_hardware
from orchestrator.shared_files import find
from tests.sweeps import trials_of, wait_until

TEMPLATE = """
[model]
kind = "quadratic_mlp"
dim = 16

[data]
task = "modular"
p = 13

[training]
batch_size = "full"
learning_rate = 1e-3
schedule = "constant"
eval_interval = 500

[checkpoint]
interval = 100000

[logging]
log_interval = 500
enable_tensorboard = false

[space]
"training.steps" = {steps}
"""

SHORT, LONG = 1_000, 100_000_000


def page(url: str) -> str:
    """Return a page; nothing while nobody listens: Ray lists an address a little before."""
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            return str(answer.read().decode())
    except urllib.error.URLError:
        return ""


@dataclass
class Running:
    """A sweep with a dashboard: one trial ends soon, one trains until it is stopped."""

    process: subprocess.Popen[str]
    folder: Path
    temporary: Path
    url: str
    environment: dict[str, str]

    @property
    def said(self) -> str:
        return (self.folder / "said").read_text()

    @property
    def token(self) -> str:
        return (self.folder / "home" / "ray_token").read_text()

    @property
    def address(self) -> str:
        """The cluster's, as `ray start` would print it."""
        (port,) = (self.temporary / "session_latest").glob("gcs_server_port_*")
        return f"127.0.0.1:{port.read_text()}"

    @property
    def directory(self) -> Path:
        (ledger,) = (self.folder / "runs").glob("long-*/ledger.db")
        return ledger.parent

    def get(self, path: str, token: str | None, *, post: bool = False) -> tuple[int, str]:
        body = b'{"entrypoint": "true"}' if post else None
        request = urllib.request.Request(f"{self.url}{path}", body)
        if token is not None:
            request.add_header("Authorization", f"Bearer {token}")
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def state(self, kind: str) -> list[dict[str, Any]]:
        status, body = self.get(f"/api/v0/{kind}?detail=1&limit=1000", self.token)
        assert status == 200, body
        found: list[dict[str, Any]] = json.loads(body)["data"]["result"]["result"]
        return found

    def metrics(self) -> str:
        """What Prometheus would scrape: it has no token."""
        listed = self.temporary / "prom_metrics_service_discovery.json"
        (group,) = json.loads(listed.read_text())
        return "".join(page(f"http://{target}/metrics") for target in group["targets"])

    def series(self, name: str) -> dict[tuple[tuple[str, str], ...], float]:
        """The values of a gauge by its tags, without those that Ray adds."""
        series = {}
        for line in self.metrics().splitlines():
            if line.startswith(f"ray_{name}{{"):
                labels, _, value = line.rpartition(" ")
                tags = dict(re.findall(r'(\w+)="([^"]*)"', labels))
                ours = ("sweep", "trial", "cohort", "state")
                series[tuple((k, tags[k]) for k in ours if k in tags)] = float(value)
        return series


def arbiter(folder: Path, environment: dict[str, str], *arguments: str) -> subprocess.Popen[str]:
    with (folder / "said").open("w") as said:
        return subprocess.Popen(
            [sys.executable, "-c", "from orchestrator.cli import main; main()", *arguments],
            env=environment | {"ARBITER_RUNS": str(folder / "runs")},
            cwd=folder,
            stderr=said,
            stdout=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("dashboard")
    (folder / "long.toml").write_text(TEMPLATE.format(steps=[SHORT, LONG]))
    # Ray's sockets lie in its temporary folder, and the path of a socket has to be short.
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as temporary, busy(8265):
        environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
        environment |= {"ARBITER_HOME": str(folder / "home"), "RAY_TMPDIR": temporary}
        command = ("sweep", "--strategy", "long.toml", "--gpus", "0", "--dashboard")
        process = arbiter(folder, environment, *command, "--cohort", "1")
        try:
            said = folder / "said"
            wait_until(lambda: "dashboard: http" in said.read_text() or process.poll() is not None)
            found = re.search(r"dashboard: (http://\S+)", said.read_text())
            assert found is not None, said.read_text()
            yield Running(process, folder, Path(temporary) / "ray", found[1], environment)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextlib.contextmanager
def busy(port: int) -> Iterator[None]:
    """Hold a port, unless somebody else does."""
    with socket.socket() as held:
        with contextlib.suppress(OSError):
            held.bind(("127.0.0.1", port))
            held.listen()
        yield


@pytest.mark.ray
@pytest.mark.timeout(300)
class TestRunning:
    """In this order: the last one stops the sweep."""

    def test_the_address_is_the_real_one(self, running: Running) -> None:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", running.url)
        assert not running.url.endswith(":8265"), "that port was taken"
        assert running.get("/", token=None)[0] == 200  # the page that asks for the token

    def test_nothing_is_told_without_the_token(self, running: Running) -> None:
        for path in ("/api/jobs/", "/api/v0/actors", "/api/v0/tasks", "/nodes", "/logical/actors"):
            assert running.get(path, token=None)[0] == 401, path
            assert running.get(path, token="0" * 64)[0] == 403, path
        assert running.get("/api/jobs/", token=None, post=True)[0] == 401  # runs a command
        assert running.token not in running.said
        assert f"cat {running.folder}/home/ray_token" in running.said

    def test_what_trains_is_known_by_its_name(self, running: Running) -> None:
        long = f"long-0001 steps={LONG} seed=0"
        wait_until(lambda: long in {actor["repr_name"] for actor in running.state("actors")})
        actors = running.state("actors")
        assert {a["class_name"] for a in actors} == {"Referee", "Cohort"}
        assert f"referee of {running.directory.name}" in {a["name"] for a in actors}
        assert {a["ray_namespace"] for a in actors} == {"arbiter"}
        wait_until(lambda: f"{long}.train" in {task["name"] for task in running.state("tasks")})
        (job,) = json.loads(running.get("/api/jobs/", running.token)[1])
        assert job["metadata"] == {"job_name": running.directory.name}

    def test_the_gauges_are_those_of_the_ledger(self, running: Running) -> None:
        from orchestrator.executors.ray_metrics import TAGS

        short, long = sorted(
            trials_of(running.directory), key=lambda t: t.config["training"]["steps"]
        )
        sweep = ("sweep", running.directory.name)
        of_long = (
            sweep,
            ("trial", f"{long.id} steps={LONG} seed=0"),
            ("cohort", f"long-0001 steps={LONG} seed=0"),
        )
        # The trial that ended is gone from what trains, and is counted by its reason.
        wait_until((running.temporary / "prom_metrics_service_discovery.json").exists)
        wait_until(lambda: set(running.series("arbiter_step")) == {of_long})
        finished = (sweep, ("state", "finished"))
        wait_until(lambda: running.series("arbiter_trials").get(finished) == 1)
        states = {dict(tags)["state"]: n for tags, n in running.series("arbiter_trials").items()}
        assert {state: n for state, n in states.items() if n} == {"running": 1, "finished": 1}
        for name, tags in TAGS.items():
            if name != "arbiter_trials":
                expected = tuple(pair for pair in of_long if pair[0] in tags)
                wait_until(lambda name=name, e=expected: set(running.series(name)) == {e})  # type: ignore[misc]
        assert running.series("arbiter_steps")[of_long] == LONG
        assert running.series("arbiter_sweep_steps")[sweep,] == SHORT + LONG
        assert running.series("arbiter_tokens_per_s")[of_long] > 0
        (ended,) = (t for t in trials_of(running.directory) if t.id == short.id)
        assert running.series("arbiter_best_objective")[sweep,] == pytest.approx(
            ended.final["val/loss"]
        )
        step = running.series("arbiter_step")[of_long]
        wait_until(lambda: running.series("arbiter_step")[of_long] > step)

    def test_a_cluster_is_joined_with_its_token_alone(
        self, running: Running, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 64)
        with pytest.raises(UsageError, match="it does not take the token"):
            find_hardware(Execution(address=running.address), None)

    def test_another_sweep_joins_its_cluster(self, running: Running, tmp_path: Path) -> None:
        (tmp_path / "short.toml").write_text(TEMPLATE.format(steps=[SHORT]))
        token = {"RAY_AUTH_TOKEN_PATH": str(running.folder / "home" / "ray_token")}
        command = ("sweep", "--strategy", "short.toml", "--gpus", "0")
        joined = arbiter(
            tmp_path, running.environment | token, *command, "--address", running.address
        )
        assert joined.wait(timeout=120) == Exit.OK, (tmp_path / "said").read_text()
        assert running.process.poll() is None
        (ledger,) = (tmp_path / "runs").glob("*/ledger.db")
        assert [trial.reason for trial in trials_of(ledger.parent)] == ["finished"]

    def test_a_signal_stops_it_and_ray_says_nothing(self, running: Running) -> None:
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(timeout=90) == Exit.INTERRUPTED, running.said
        ours = re.compile(
            r"note: |long: |dashboard: |gauges: |next: |stopped: |SIGTERM: |\[\d/2\] |"
            r"2 of 2 trials to train|\d of \d done, "
        )
        assert [line for line in running.said.splitlines() if not ours.match(line)] == []


@pytest.fixture
def board() -> dict[str, Any]:
    board: dict[str, Any] = json.loads((find("monitoring") / "grafana/arbiter.json").read_text())
    return board


class TestMonitoring:
    @pytest.mark.ray
    def test_the_board_shows_every_gauge_and_no_other(self, board: dict[str, Any]) -> None:
        from orchestrator.executors.ray_metrics import TAGS

        asked = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
        asked += [entry["definition"] for entry in board["templating"]["list"][1:]]
        names = {name for expr in asked for name in re.findall(r"\bray_\w+", expr)}
        assert names == {f"ray_{name}" for name in TAGS}
        for expr in asked[:-1]:
            assert expr.count('{sweep=~"$sweep"}') == len(re.findall(r"\bray_\w+", expr)), expr
        legends = [t["legendFormat"] for panel in board["panels"] for t in panel["targets"]]
        tags = {tag for legend in legends for tag in re.findall(r"{{(\w+)}}", legend)}
        assert tags == {"sweep", "trial", "cohort", "state"}

    def test_the_board_loads_as_it_is(self, board: dict[str, Any]) -> None:
        assert board["schemaVersion"] >= 30 and board["title"] and board["uid"]
        source, sweep = board["templating"]["list"]
        assert (source["type"], source["query"]) == ("datasource", "prometheus")
        assert (sweep["type"], sweep["multi"]) == ("query", True)
        panels = board["panels"]
        assert len({panel["id"] for panel in panels}) == len(panels)
        cells = [
            (x, y)
            for place in (panel["gridPos"] for panel in panels)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        ]
        assert len(set(cells)) == len(cells), "panels lie over each other"
        assert max(x for x, _ in cells) < 24
        used = [panel["datasource"] for panel in panels]
        used += [target["datasource"] for panel in panels for target in panel["targets"]]
        assert {entry["uid"] for entry in used} == {"${datasource}"}

    def test_prometheus_is_told_where_ray_lists_its_targets(self) -> None:
        config = yaml.safe_load((find("monitoring") / "prometheus.yml").read_text())
        (scrape,) = config["scrape_configs"]
        (found,) = scrape["file_sd_configs"]
        assert found["files"] == ["/tmp/ray/prom_metrics_service_discovery.json"]
        assert not any("sweep" in rule["regex"] for rule in scrape["metric_relabel_configs"])
