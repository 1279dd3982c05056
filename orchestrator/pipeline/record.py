"""What is kept of a pipeline, and which pipeline is the one that was asked for: `pipeline.json`.

It is written whole before and after each stage, so a process that is killed leaves the stage it
was in as `running`, and an attempt that has no end.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from orchestrator.errors import Problem, StorageError
from orchestrator.layout import RunDirectory, runs_root, write_whole
from trainer.config import RunConfig

FORMAT = 1
RECORD_FILE = "pipeline.json"
HOW = {"checkpoint", "logging", "limits", "tier"}
"""Sections of a run config that say how it is run, and decide nothing of what it comes to."""
KILLED = "killed, or the machine went down"


class Stage(StrEnum):
    """The parts of a pipeline, in their order."""

    SET_UP = "set-up"  # the corpus is read and hashed, the record is written
    TOKENIZER = "tokenizer and data"  # vocabularies are compared, one is chosen, the text encoded
    TRAINING = "training"  # in segments, an evaluation after each
    EVALUATION = "final evaluation"  # of the last checkpoint, with gates and samples
    REPORT = "report"


class StageState(StrEnum):
    """How far a stage is."""

    WAITING = "waiting"
    RUNNING = "running"  # or its process was killed
    DONE = "done"
    LEFT_OUT = "left out"  # what it needs failed before it


class _Kept(BaseModel):
    """Base of all that is in the file: closed and strict."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class StageRecord(_Kept):
    """One stage; times are seconds since 1970."""

    name: str
    state: str = StageState.WAITING.value
    attempts: int = 0
    started_at: float | None = None
    finished_at: float | None = None
    why: str = ""


class Attempt(_Kept):
    """One process that worked on the pipeline.

    Args:
        command: As it was typed, secrets masked.
        made_with: Versions of what may show in a result's last bits.
        started_at: Seconds since 1970.
        stage: The last one it entered.
        ended_at: None where it was killed, or still works.
        ended: How it ended, in words.
    """

    command: str
    made_with: dict[str, Any]
    started_at: float
    stage: str = ""
    ended_at: float | None = None
    ended: str = ""


class Asked(_Kept):
    """What a person asked for, as it was typed."""

    corpus: str
    base_config: str | None = None
    scale: str | None = None
    tier: str | None = None
    overrides: list[str] = []
    vocab_sizes: list[int]
    phrases: int = 0
    phrases_file: str | None = None
    phrases_sha256: str | None = None
    evaluations: int


class Corpus(_Kept):
    """The text that is trained on.

    Args:
        path: File, or the name of a text that ships.
        sha256: Of its bytes, unpacked.
        bytes: Of the text in UTF-8.
        characters: Unicode code points.
        lines: Lines of it.
        distinct: Different characters in it.
        split_characters: Characters of each split, by its name.
    """

    path: str
    sha256: str
    bytes: int
    characters: int
    lines: int
    distinct: int
    split_characters: dict[str, int]


class Vocabulary(_Kept):
    """One vocabulary size that was tried; ratios are per token of that split."""

    vocab_size: int
    train_chars_per_token: float
    train_bytes_per_token: float
    held_out_chars_per_token: float
    held_out_bytes_per_token: float


class ChosenTokenizer(_Kept):
    """What the tokenizer stage found.

    Args:
        file: The chosen tokenizer, relative to the run directory.
        vocab_size: Its size.
        reason: Why it was chosen.
        candidates: All that were tried.
        split_tokens: Tokens of each split under it.
    """

    file: str
    vocab_size: int
    reason: str
    candidates: list[Vocabulary]
    split_tokens: dict[str, int]


class Record(_Kept):
    """A pipeline.

    Args:
        format: Of the file.
        name: For the run directory and the report.
        hash: Of what decides the report: the text, the settings, the vocabulary sizes. Same hash,
            same pipeline.
        asked_hash: The same with the text's path in place of its content.
        asked: As it was typed.
        corpus: The text.
        config: The run config, with the largest vocabulary and no tokenizer file.
        sources: Dotted key to where its value came from; keys not in it are defaults.
        notes: What a person was told of how the settings came together.
        stages: In their order.
        attempts: Oldest first.
        tokenizer: What was chosen; None before.
    """

    format: int = FORMAT
    name: str
    hash: str
    asked_hash: str
    asked: Asked
    corpus: Corpus
    config: dict[str, Any]
    sources: dict[str, str]
    notes: list[str] = []
    stages: list[StageRecord]
    attempts: list[Attempt] = []
    tokenizer: ChosenTokenizer | None = None

    def stage(self, stage: Stage) -> StageRecord:
        """Return the record of a stage."""
        return next(kept for kept in self.stages if kept.name == stage.value)

    @property
    def complete(self) -> bool:
        """Whether nothing is left to do."""
        return self.stage(Stage.REPORT).state == StageState.DONE

    @property
    def run_config(self) -> RunConfig:
        """The run config as the set-up made it."""
        return RunConfig.model_validate(self.config)

    def training_config(self, directory: RunDirectory) -> RunConfig:
        """Return the run config with the tokenizer that was chosen, where it lies now."""
        assert self.tokenizer is not None
        config = self.run_config.model_dump()
        config["data"]["tokenizer_path"] = str(directory.path / self.tokenizer.file)
        config["model"]["vocab_size"] = None  # the tokenizer has it
        return RunConfig.model_validate(config)

    def write(self, directory: RunDirectory) -> None:
        """Write the record; readers see all of it or the one before."""
        write_whole(record_file(directory), self.model_dump_json(indent=1) + "\n")

    def begin(self, directory: RunDirectory, command: str, made_with: dict[str, Any]) -> None:
        """Record that a process works on it; one before it that has no end was killed."""
        for attempt in self.attempts:
            if not attempt.ended:
                attempt.ended = KILLED
        now = time.time()
        self.attempts.append(Attempt(command=command, made_with=made_with, started_at=now))
        self.write(directory)

    def end(self, directory: RunDirectory, how: str) -> None:
        """Record how the process's work on it ended."""
        self.attempts[-1].ended, self.attempts[-1].ended_at = how, time.time()
        self.write(directory)

    def enter(self, directory: RunDirectory, stage: Stage) -> None:
        """Record that a stage begins, or begins again."""
        kept = self.stage(stage)
        kept.state, kept.attempts = StageState.RUNNING.value, kept.attempts + 1
        kept.started_at = kept.started_at or time.time()
        self.attempts[-1].stage = stage.value
        self.write(directory)

    def leave(self, directory: RunDirectory, stage: Stage, left_out: str = "") -> None:
        """Record that a stage is over: done, or left out for a reason."""
        kept = self.stage(stage)
        kept.state = (StageState.LEFT_OUT if left_out else StageState.DONE).value
        kept.finished_at, kept.why = time.time(), left_out
        self.write(directory)


def new_stages() -> list[StageRecord]:
    """Return the stages of a pipeline that has not begun."""
    return [StageRecord(name=stage.value) for stage in Stage]


def record_file(directory: RunDirectory) -> Path:
    """Return where the record of a pipeline lies."""
    return directory.path / RECORD_FILE


def read_record(directory: RunDirectory) -> Record:
    """Return the record of a pipeline.

    Raises:
        StorageError: It is missing, damaged, or of another version.
    """
    path = record_file(directory)
    hint = "arbiter pipeline --fresh starts anew"
    try:
        text = path.read_text(encoding="utf-8")
        found = json.loads(text)
        if isinstance(found, dict) and found.get("format") != FORMAT:
            message = f"{RECORD_FILE}: got format {found.get('format')}, expected {FORMAT}"
            raise StorageError(Problem(message, directory.shown(), hint))
        record = Record.model_validate_json(text)
        if [stage.name for stage in record.stages] != [stage.value for stage in Stage]:
            raise ValueError("its stages are not those of a pipeline")
        record.run_config  # noqa: B018  # a config that cannot be read is damage too
        return record
    except OSError as error:
        why = str(error.strerror)
    except ValidationError as error:
        first = error.errors()[0]
        why = f"{'.'.join(map(str, first['loc'])) or 'the file'}: {first['msg']}"
    except (ValueError, RecursionError) as error:
        why = f"not the record of a pipeline ({error})"
    raise StorageError(Problem(f"{RECORD_FILE} cannot be used: {why}", directory.shown(), hint))


def all_pipelines(root: Path) -> Iterator[RunDirectory]:
    """Yield the pipelines below the runs folder, newest first; a link may be somebody else's."""
    found = [path for path in root.glob(f"*/{RECORD_FILE}") if not path.parent.is_symlink()]
    for path in sorted(found, key=lambda path: path.stat().st_mtime, reverse=True):
        yield RunDirectory(path.parent)


def find_pipeline(given: str | None) -> RunDirectory | None:
    """Return the pipeline of a path or a name, or the newest run where that is one.

    Returns:
        None where something else is meant: a sweep, or nothing that there is.
    """
    root = runs_root()
    if given is not None:
        for path in (Path(given).absolute(), root / given):
            with contextlib.suppress(OSError):  # a name too long for the file system
                if (path / RECORD_FILE).is_file():
                    return RunDirectory(path)
        return None
    newest = next(all_pipelines(root), None)
    if newest is None:
        return None
    since = max(map(_changed, (record_file(newest), newest.ledger)))
    return newest if since >= max(map(_changed, root.glob("*/ledger.db")), default=0.0) else None


def _changed(path: Path) -> float:
    return path.stat().st_mtime if path.exists() else 0.0
