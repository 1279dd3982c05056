"""What every test shares: folders of its own, one thread, reproducible examples."""

from __future__ import annotations

import functools
import importlib.metadata
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import typer.main
from hypothesis import settings

from tests.program import Program

pytest.register_assert_rewrite("tests.contracts")
settings.register_profile("arbiter", deadline=None, derandomize=True, database=None)
settings.load_profile("arbiter")


@pytest.fixture(scope="session", autouse=True)
def _own_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the machine's caches and runs out of the tests, and the tests out of them."""
    torch.set_num_threads(1)
    torch.set_warn_always(True)  # a warning is an error: in each test, not in the first alone
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARBITER_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("ARBITER_RUNS", str(tmp_path_factory.mktemp("runs")))
        yield


@pytest.fixture(scope="session", autouse=True)
def _asked_once() -> Iterator[None]:
    """Answer once what is the same for every command of the tests, and slow to find out.

    The versions of the libraries are each read from a file, and a parser is built of every
    command's signature.
    """
    with pytest.MonkeyPatch.context() as patch:
        for module, name in ((importlib.metadata, "version"), (typer.main, "get_command")):
            patch.setattr(module, name, functools.cache(getattr(module, name)))
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put files that start Ray first: they are the longest, and `make test` deals out whole files."""
    slow = {item.path for item in items if item.get_closest_marker("ray")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture
def program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Program:
    """The command line in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ARBITER_RUNS", str(tmp_path / "runs"))
    monkeypatch.delenv("ARBITER_FULL_ERROR", raising=False)
    return Program(tmp_path, monkeypatch, capsys)
