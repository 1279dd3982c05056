"""The life of a pipeline: its stages in their order, first start or resume.

Both are one path. A stage that is done is left alone; the one that was cut off begins again and
finds what it had finished: tokenizers are made anew to the same bytes, training goes on from its
checkpoint, an evaluation that is on disk is not made twice. So the report of a pipeline that was
killed anywhere is that of one that was not, but for the section that says when it ran.
"""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.errors import ArbiterError, Exit, Problem, UsageError
from orchestrator.executors import Execution
from orchestrator.hardware import Hardware
from orchestrator.layout import RunDirectory
from orchestrator.pipeline.evaluations import FINAL, evaluate_checkpoint, read_evaluation
from orchestrator.pipeline.record import Record, Stage, StageState, read_record, record_file
from orchestrator.pipeline.report import write_report
from orchestrator.pipeline.request import corpus_changed, phrases_hash
from orchestrator.pipeline.tokenizer import choose_tokenizer
from orchestrator.pipeline.training import Unfinished, prepare, train, trial_of
from orchestrator.provenance import made_with, masked
from orchestrator.signals import Stopped, stopped_at_once
from orchestrator.watch import Audience
from trainer.errors import InputError
from trainer.reporting import Reason
from trainer.tasks.corpus import text

Notify = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """How a process's work on a pipeline ended.

    Args:
        directory: Where everything is.
        record: As it stands.
        stopped: Why it was stopped before its end; empty where it came to it.
        failed: Why the training failed; empty where it did not.
        final: The final evaluation, where there is one.
        worked: Whether anything was left to do.
    """

    directory: RunDirectory
    record: Record
    stopped: str = ""
    failed: str = ""
    final: dict[str, Any] | None = None
    worked: bool = True

    @property
    def exit_code(self) -> Exit:
        """Return what the process says with its exit status."""
        if self.stopped:
            return Exit.INTERRUPTED
        if self.failed or (self.final is not None and not self.final["passed"]):
            return Exit.FAILED_TRIALS
        return Exit.OK


def run(
    directory: RunDirectory,
    record: Record,
    hardware: Hardware,
    execution: Execution,
    *,
    command: Sequence[str],
    notify: Notify,
    audience: Callable[[], contextlib.AbstractContextManager[Audience]],
) -> Outcome:
    """Begin a pipeline, or carry it on to its report.

    Args:
        directory: Where it is or will be.
        record: What it is, as `request.place` or `read_record` returned it.
        hardware: What may be used.
        execution: How its training is run.
        command: The program's arguments, for the record.
        notify: Takes what a person has to be told, a line at a time.
        audience: Makes what is shown how far the training is.

    Raises:
        LockedError: Another process works on it.
        StorageError: What is there is damaged.
        UsageError: It cannot run here, or its text has changed.
    """
    _check_inputs(directory, record)
    refusal = hardware.refuse(record.run_config.tier)
    if refusal is not None and not record.complete:
        raise UsageError(Problem(refusal, directory.shown(), "tier=auto takes what fits here"))
    directory.path.mkdir(parents=True, exist_ok=True)
    with directory.locked():
        if record_file(directory).exists():  # what another process did since it was read
            now = read_record(directory)
            record.stages, record.attempts = now.stages, now.attempts
            record.tokenizer = now.tokenizer
        if record.complete:
            return _ended(directory, record, worked=False)
        record.begin(directory, masked(shlex.join(["arbiter", *command])), made_with())
        work = _Work(directory, record, hardware, execution, command, notify, audience)
        try:
            with stopped_at_once():
                work.go_on()
        except (Stopped, KeyboardInterrupt) as stop:
            why = f"{stop or 'asked to stop'} in stage {record.attempts[-1].stage}"
            record.end(directory, f"stopped: {why}")
            return Outcome(directory, record, stopped=why)
        except Unfinished as stop:
            record.end(directory, f"stopped: {stop}")
            return Outcome(directory, record, stopped=str(stop))
        except Exception as error:
            said = error.problems[0].message if isinstance(error, ArbiterError) else repr(error)
            record.end(directory, f"error: {said}")
            raise
        return _ended(directory, record)


def _check_inputs(directory: RunDirectory, record: Record) -> None:
    """Refuse a text, or a file of phrases that is still to be read, that is not the one it was."""
    if record.complete:
        return
    try:
        now = text.content_hash(record.corpus.path)
    except InputError as error:
        raise UsageError(Problem(str(error), directory.shown(), error.hint)) from error
    if now != record.corpus.sha256:
        raise corpus_changed(directory, record, now)
    file = record.asked.phrases_file
    if file is None or record.tokenizer is not None:
        return
    if phrases_hash(Path(file)) != record.asked.phrases_sha256:
        message = f"{file} has changed since {directory.shown()} began"
        hint = "put it back to go on, or --fresh starts anew with the one that is there"
        raise UsageError(Problem(message, "--phrases-file", hint))


def _ended(directory: RunDirectory, record: Record, *, worked: bool = True) -> Outcome:
    return Outcome(
        directory,
        record,
        failed=record.stage(Stage.EVALUATION).why,
        final=read_evaluation(directory, FINAL),
        worked=worked,
    )


@dataclass(frozen=True)
class _Work:
    """The stages, each of which may have been cut off before."""

    directory: RunDirectory
    record: Record
    hardware: Hardware
    execution: Execution
    command: Sequence[str]
    notify: Notify
    audience: Callable[[], contextlib.AbstractContextManager[Audience]]

    def go_on(self) -> None:
        """Do every stage that is not done."""
        steps = {
            Stage.SET_UP: self._set_up,
            Stage.TOKENIZER: self._tokenizer,
            Stage.TRAINING: self._training,
            Stage.EVALUATION: self._evaluation,
            Stage.REPORT: self._report,
        }
        for number, (stage, work) in enumerate(steps.items(), start=1):
            if self.record.stage(stage).state in (StageState.DONE, StageState.LEFT_OUT):
                continue
            self.notify(f"[{number}/{len(steps)}] {stage.value}")
            self.record.enter(self.directory, stage)
            left_out = work()
            self.record.leave(self.directory, stage, left_out)

    def _set_up(self) -> str:
        corpus = self.record.corpus
        self.notify(f"{corpus.path}: {corpus.characters:,} characters in {corpus.lines:,} lines")
        return ""

    def _tokenizer(self) -> str:
        chosen = choose_tokenizer(self.directory, self.record, self.notify)
        self.record.tokenizer = chosen
        self.notify(f"vocabulary {chosen.vocab_size}: {chosen.reason}")
        return ""

    def _training(self) -> str:
        prepare(self.directory, self.record, self.command)
        trial = train(
            self.directory,
            self.record,
            self.hardware,
            self.execution,
            notify=self.notify,
            audience=self.audience,
        )
        self.notify(f"training {trial.label} at step {trial.step}")
        return ""

    def _evaluation(self) -> str:
        trial = trial_of(self.directory)
        if trial.reason is not Reason.FINISHED:
            return f"training {trial.label}: {trial.detail}"
        if read_evaluation(self.directory, FINAL) is None:
            evaluate_checkpoint(
                self.directory,
                trial.id,
                trial.step,
                self.record.training_config(self.directory),
                FINAL,
                samples=True,
                notify=self.notify,
            )
        return ""

    def _report(self) -> str:
        self.record.end(self.directory, "came to its report")
        write_report(self.directory, self.record)
        return ""
