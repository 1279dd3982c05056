"""The token of Ray, and what is refused before Ray is imported."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

import pytest

from orchestrator.errors import UsageError
from orchestrator.executors import Execution, check_execution, find_hardware, ray_environment


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own, and an environment in which nobody has set Ray up."""
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.setenv(name, "")  # so that what a test sets is taken back at its end
        monkeypatch.delenv(name)
    monkeypatch.setenv("ARBITER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path / "home"


def refused(execution: Execution) -> str:
    with pytest.raises(UsageError) as caught:
        check_execution(execution)
    return str(caught.value)


class TestToken:
    def test_it_lies_in_a_file_of_this_user_alone(self, home: Path) -> None:
        before = os.umask(0)
        try:
            path = ray_environment.provide_token(dashboard=True)
        finally:
            os.umask(before)
        assert path == home / "ray_token"
        assert path.stat().st_mode & 0o777 == 0o600
        assert home.stat().st_mode & 0o777 == 0o700
        assert re.fullmatch("[0-9a-f]{64}", path.read_text())
        assert os.environ["RAY_AUTH_TOKEN_PATH"] == str(path)
        assert [entry.name for entry in home.iterdir()] == ["ray_token"]

    def test_it_stays_the_same(self, home: Path) -> None:
        ray_environment.write_token(home / "token")
        first = (home / "token").read_text()
        ray_environment.write_token(home / "token")
        assert (home / "token").read_text() == first

    def test_without_a_dashboard_nothing_is_written(self, home: Path) -> None:
        assert ray_environment.provide_token(dashboard=False) is None
        assert len(os.environ["RAY_AUTH_TOKEN"]) == 64
        assert not home.exists()

    @pytest.mark.parametrize("mode", [0o644, 0o640, 0o606])
    def test_a_file_that_others_may_have_read_is_refused(self, home: Path, mode: int) -> None:
        home.mkdir()
        path = home / "ray_token"
        path.write_text("known")
        path.chmod(mode)
        said = refused(Execution(dashboard=True))
        assert f"got mode {mode:04o}" in said and "mode 0600" in said
        assert f"chmod 600 {path}" in said
        assert path.read_text() == "known"

    def test_a_file_that_a_person_named_is_held_to_the_same(
        self, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "mine").write_text("known")
        (tmp_path / "mine").chmod(0o604)
        monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "mine"))
        assert "got mode 0604" in refused(Execution())
        (tmp_path / "mine").chmod(0o600)
        check_execution(Execution())
        assert ray_environment.provide_token(dashboard=False) == tmp_path / "mine"

    def test_a_home_that_is_no_folder(self, home: Path) -> None:
        home.write_text("a file")
        said = refused(Execution(dashboard=True))
        assert f"{home}/ray_token: cannot read the token of Ray: Not a directory" in said
        assert "set ARBITER_HOME" in said

    def test_a_link_is_refused(self, home: Path, tmp_path: Path) -> None:
        home.mkdir()
        (home / "ray_token").symlink_to(tmp_path / "elsewhere")
        assert "got something else" in refused(Execution(dashboard=True))
        assert not (tmp_path / "elsewhere").exists()

    def test_what_is_said_of_it_never_holds_it(
        self, home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = ray_environment.provide_token(dashboard=True)
        assert ray_environment.how_to_log_in() == f"`cat {path}` shows the token"
        monkeypatch.setenv("RAY_AUTH_TOKEN", "s3cret")
        assert ray_environment.how_to_log_in() == "the token is the value of RAY_AUTH_TOKEN"


@pytest.mark.usefixtures("home")
class TestRefusals:
    def test_a_ray_without_a_token(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
        said = refused(Execution())
        assert "RAY_AUTH_MODE: got 'disabled', expected 'token'" in said
        assert "hint: unset RAY_AUTH_MODE" in said

    def test_a_dashboard_or_a_cluster_for_an_executor_without_ray(self) -> None:
        said = refused(Execution("inline", dashboard=True, address="auto"))
        assert "got --dashboard with --executor inline" in said
        assert "got --address with --executor inline" in said

    @pytest.mark.parametrize("address", ["", "here", "here:", ":6379", "here:0", "here:65536"])
    def test_an_address_that_is_none(self, address: str) -> None:
        assert f"got {address!r}, expected HOST:PORT or auto" in refused(Execution(address=address))

    def test_the_address_of_a_client(self) -> None:
        said = refused(Execution(address="ray://10.0.0.1:10001"))
        assert "the ledger is written on the machine where the sweep is started" in said

    def test_a_cluster_without_its_token(self, tmp_path: Path) -> None:
        said = refused(Execution(address="10.0.0.1:6379"))
        assert f"{tmp_path}/.ray/auth_token: the cluster's token: got No such file" in said
        assert "set RAY_AUTH_TOKEN_PATH to its file" in said

    def test_a_dashboard_without_what_it_needs(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(ray_environment, "DASHBOARD_NEEDS", ("json", "no_such.package"))
        said = refused(Execution(dashboard=True))
        assert "no dashboard without no_such.package" in said
        assert "pip install 'ray[default,tune]'" in said

    def test_gpus_of_a_cluster(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(UsageError, match="--gpus 2 with --address"):
            find_hardware(Execution(address="10.0.0.1:6379"), 2)

    @pytest.mark.ray
    def test_an_address_where_nothing_answers(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("RAY_AUTH_TOKEN", "any")
        with socket.socket() as held:  # bound and not listening: nobody else gets the port
            held.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{held.getsockname()[1]}"
            with pytest.raises(UsageError) as caught:
                find_hardware(Execution(address=address), None)
        said = str(caught.value)
        assert f"--address: cannot join the cluster {address}: nothing answers there" in said
        assert "ray start --head" in said
