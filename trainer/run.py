"""One member on its way: from its newest checkpoint, through rows and evaluations, to its end.

`trainer.loop` says when its steps are done; here is what is due at the step they end on, and what
becomes of an error.
"""

from __future__ import annotations

import contextlib
import math
import traceback
from collections.abc import Callable
from typing import Any

import torch
from filelock import FileLock, Timeout

from trainer.board import TensorBoard
from trainer.checkpoint import Checkpoint, CheckpointStore
from trainer.computation import computation_of
from trainer.disk import takes_no_more
from trainer.engines import Advance, Engine, State
from trainer.epochs import in_steps
from trainer.errors import DivergedError, InputError
from trainer.grokking import MEAN_LOSS, make_tracker
from trainer.ladder import in_words, next_lower
from trainer.limits import Limits, peak_gpu_gib
from trainer.out_of_memory import free_cache, let_go, on_host, ran_out, within_memory
from trainer.reporting import GO_ON, FitResult, Member, Reason, Reporter, Verdict
from trainer.schedule import learning_rate
from trainer.stopwatch import Stopwatch
from trainer.tasks import Task, build_task, input_hashes, saturates
from trainer.tasks import metrics as metrics_of

TRANSITION = "generalised"
"""Marks the checkpoint at which a run was first seen to have generalised."""
LOCK_WAIT_S = 30.0
"""How long a member waits for a dying process that still holds its directory."""


class Run:
    """One member on its way: what it has done, and what is due."""

    def __init__(
        self,
        member: Member,
        engine: Engine,
        reporter: Reporter,
        interrupted: Callable[[], bool],
        on_error: Callable[[Exception], None],
    ) -> None:
        self.id, self.config, self.directory = member.id, in_steps(member.config), member.directory
        self.engine, self.reporter, self.on_error = engine, reporter, on_error
        self.store = CheckpointStore(self.directory / "checkpoints", self.config.checkpoint.keep)
        self.limits = Limits(self.config.limits, self.config.tier.device, interrupted)
        self.lock = FileLock(self.directory / ".lock")
        self.scaled = self.config.tier.precision == "fp16"
        self.saturates = saturates(self.config)
        self.tracker = make_tracker(self.saturates, metrics_of(self.config))
        self.task: Task | None = None
        self.data: dict[str, str] = {}
        self.board: TensorBoard | None = None
        self.result: FitResult | None = None
        self.step = 0
        self.saved_step: int | None = None
        self.watch = Stopwatch()
        self.unsaved_rows: list[tuple[int, dict[str, float]]] = []
        self.last_evaluation: dict[str, float] = {}
        self.steps_since_row, self.seconds_since_row = 0, 0.0
        self.loss_sum, self.loss_steps = 0.0, 0  # since the last evaluation

    def start(self) -> None:
        """Load the data, build the model, and go back to the newest valid checkpoint."""
        with self.watch:
            try:
                self.directory.mkdir(parents=True, exist_ok=True)
                self.lock.acquire(timeout=LOCK_WAIT_S)
                note = within_memory(self._build, self._leave)
                self.board = TensorBoard(
                    self.directory / "tb", self.config.logging.enable_tensorboard, self.step
                )
                verdict = self._begin(note)
                if (detail := self._complete()) is not None:
                    self._finish(detail)
                elif verdict.stop is not None:
                    self._end(verdict.stop, verdict.detail)
            except Timeout:
                self._end(Reason.FAILED, f"another process trains in {self.directory}")
            except Exception as error:
                self._fail(error)

    def _build(self, state: State | None = None) -> str:
        """Make the task and the model under the tier of now; return a note on what was found.

        Args:
            state: Where it goes on; None goes back to the newest checkpoint.
        """
        self.task = build_task(self.config)
        self.data = input_hashes(self.config)
        self.engine.add(self.id, self.config, self.task)
        note = ""
        if state is None:
            note = self._restore()
        else:
            self.engine.restore(self.id, state)
        self._log_computation()
        return "; ".join(filter(None, [note, self.task.left_out]))

    def _begin(self, note: str) -> Verdict:
        """Say where it begins; rows that the checkpoint has may have been lost elsewhere."""
        self.reporter.started(self.id, self.step, note)
        verdict = GO_ON
        for step, metrics in self.unsaved_rows:
            verdict = self.reporter.row(self.id, step, metrics)
        self.unsaved_rows = []
        return verdict

    def _restore(self) -> str:
        """Put back the newest valid checkpoint; return a note on what was found."""
        checkpoint, notes = self.store.load_newest(self.id)
        if checkpoint is None:
            self.tracker = make_tracker(self.saturates, metrics_of(self.config))
            self.last_evaluation = {}
            self.step, self.saved_step, self.unsaved_rows = 0, None, []
            self.loss_sum, self.loss_steps = 0.0, 0
            return "; ".join([*notes, "starts again from step 0"]) if notes else ""
        engine_extra = checkpoint.extra["engine"]
        self.engine.restore(self.id, State(checkpoint.model, checkpoint.optimizer, engine_extra))
        self.tracker.restore(checkpoint.extra["grokking"])
        self.last_evaluation = checkpoint.extra["last_evaluation"]
        self.loss_sum, self.loss_steps = checkpoint.extra.get("since_evaluation", (0.0, 0))
        self.step = self.saved_step = checkpoint.step
        self.unsaved_rows = checkpoint.rows
        return "; ".join([*notes, f"resumes at step {self.step}"])

    def _log_computation(self) -> None:
        assert self.task is not None
        how = computation_of(self.config, self.task.vocab_size, self.task.tokens_per_step)
        if how is not None:
            with (self.directory / "log.txt").open("a") as log:
                log.write(f"from step {self.step}: {how}\n")

    def steps_to_event(self) -> int:
        """Return how many steps lie before the next row, evaluation, checkpoint or the end."""
        intervals = [self.config.logging.log_interval, self.config.training.eval_interval]
        if self.config.checkpoint.enable:
            intervals.append(self.config.checkpoint.interval)
        due = [interval - self.step % interval for interval in intervals]
        return min(*due, self.config.training.steps - self.step)

    def may_step(self, step: int) -> bool:
        """Ask the limits between two steps."""
        return self.limits.reached(step, self.watch.seconds) is None

    def settle(self, advance: Advance) -> None:
        """Take what a turn did, and do what is due at the step it ended on."""
        self.steps_since_row += advance.steps
        self.seconds_since_row += self.watch.lap_s
        with self.watch:
            try:
                self._settle(advance)
            except Exception as error:
                self._fail(error)

    def _settle(self, advance: Advance) -> None:
        first, self.step = self.step, self.step + advance.steps
        wrong = (~torch.isfinite(advance.losses)).nonzero()
        if len(wrong) and not self.scaled:  # else the step was left out, and that is counted
            self.step = first + int(wrong[0]) + 1
            value = float(advance.losses[int(wrong[0])])
            raise DivergedError(f"training loss is {value} at step {self.step}")
        for loss in advance.losses.tolist():  # one by one: the sum must not depend on the turns
            if math.isfinite(loss):  # else a step that was left out
                self.loss_sum, self.loss_steps = self.loss_sum + loss, self.loss_steps + 1
        if advance.error is not None:
            if not ran_out(advance.error):
                raise advance.error
            self._step_down(advance.error, f"at step {self.step + 1}", sound=advance.sound)
            return
        verdict, generalised = GO_ON, self.tracker.generalised.reached_step
        if advance.steps and (row := self._row(advance)):
            self.unsaved_rows.append((self.step, row))
            if bad := [name for name, value in row.items() if not math.isfinite(value)]:
                raise DivergedError(f"{bad[0]} is {row[bad[0]]} at step {self.step}")
            verdict = self.reporter.row(self.id, self.step, row)
            if self.board is not None:
                self.board.row(self.step, row)
        checkpoint = self.config.checkpoint
        transition = self.tracker.generalised.reached_step != generalised
        due = advance.steps and self.step % checkpoint.interval == 0
        if checkpoint.enable and (due or transition):
            self._save(TRANSITION if transition else "")
        if (detail := self._complete()) is not None:
            self._finish(detail)
        elif verdict.stop is not None:
            self._end(verdict.stop, verdict.detail)
        elif (limit := self.limits.reached(self.step, self.watch.seconds)) is not None:
            self._end(*limit)

    def _complete(self) -> str | None:
        """Return a detail once nothing is left to learn, else None."""
        generalised = self.tracker.generalised.reached_step
        if self.config.limits.stop_when_generalised and generalised is not None:
            return f"generalised at step {generalised}"
        return "" if self.step >= self.config.training.steps else None

    def _row(self, advance: Advance) -> dict[str, float]:
        """Return the metrics that are due at this step; empty where none are."""
        training, logging, step = self.config.training, self.config.logging, self.step
        last = step == training.steps
        evaluates = step % training.eval_interval == 0 or last
        if not (evaluates or step % logging.log_interval == 0):
            return {}
        assert self.task is not None
        row = {
            "train/loss": float(advance.losses[-1]),
            "optim/learning_rate": learning_rate(training, step - 1),
        }
        if logging.track_grad_norms:
            row["optim/grad_norm"] = advance.grad_norm
        if self.scaled:  # an overflow in a step that was left out is no figure of the run
            row = {name: value for name, value in row.items() if math.isfinite(value)}
            row["optim/skipped_steps"] = advance.skipped
        if logging.track_weight_norms:
            row["optim/weight_norm"] = self.engine.weight_norm(self.id)
        tokens = self.steps_since_row * self.task.tokens_per_step
        row["perf/tokens_per_s"] = tokens / max(self.seconds_since_row, 1e-9)
        self.steps_since_row, self.seconds_since_row = 0, 0.0
        if evaluates:
            row |= self._evaluate()
        if self.config.tier.device == "cuda":
            row["mem/peak_gib"] = peak_gpu_gib("cuda")
        return row

    def _evaluate(self) -> dict[str, float]:
        metrics = self._measure("val")
        if self.saturates:
            metrics["train/accuracy"] = self._measure("train")["train/accuracy"]
        elif self.loss_steps:  # else every step was left out
            metrics[MEAN_LOSS] = self.loss_sum / self.loss_steps
        self.loss_sum, self.loss_steps = 0.0, 0
        metrics |= self.tracker.update(self.step, metrics)
        self.last_evaluation = metrics
        return metrics

    def _measure(self, split: str) -> dict[str, float]:
        return within_memory(
            lambda: self.engine.evaluate(self.id, split),
            lambda error: self._step_down(error, f"in the evaluation at step {self.step}"),
        )

    def _step_down(self, error: Exception, where: str, *, sound: bool = True) -> None:
        """Go on under the next lower tier from the very state that memory ran out in.

        Args:
            error: What was raised; raised again where no tier is lower.
            where: "at step 12", for a person.
            sound: Whether the engine holds that state; else it goes back to a checkpoint.
        """
        state = self._leave(error, where, sound=sound)
        note = within_memory(lambda: self._build(state), lambda again: self._leave(again, where))
        if state is None:
            self._begin(note)

    def _leave(
        self, error: Exception, where: str = "at the start", *, sound: bool = False
    ) -> State | None:
        """Take the next lower tier and leave the engine, with the state where it is sound."""
        tier, task = self.config.tier, self.task
        if task is None:
            raise error
        lower = next_lower(tier, task.batch_size)
        if lower is None:
            raise error
        self._log(error)
        let_go(error)
        state = on_host(self.engine.export(self.id)) if sound else None
        self.engine.remove(self.id)
        free_cache(tier.device)
        self.config = self.config.model_copy(update={"tier": lower})
        detail = f"out of memory {where}: {in_words(tier, lower, task.batch_size)}"
        self.reporter.stepped_down(self.id, self.step, lower, detail)
        return state

    def _save(self, mark: str = "") -> None:
        """Publish a checkpoint of this step, once every row before it is durable.

        Args:
            mark: A word that keeps it whatever comes after.
        """
        if self.saved_step == self.step:
            return
        if not math.isfinite(self.engine.weight_norm(self.id)):
            return  # the next loss ends the run; the checkpoint before is the last sound one
        self.reporter.flush()
        state = self.engine.export(self.id)
        extra: dict[str, Any] = {
            "engine": state.extra,
            "grokking": self.tracker.export(),
            "last_evaluation": self.last_evaluation,
            "since_evaluation": [self.loss_sum, self.loss_steps],
        }
        checkpoint = Checkpoint(
            self.id,
            self.step,
            state.model,
            state.optimizer,
            extra,
            self.unsaved_rows,
            self.config.model_dump(mode="json"),
            self.data,
        )
        self.store.save(checkpoint, mark)
        self.saved_step, self.unsaved_rows = self.step, []

    def _finish(self, detail: str) -> None:
        """Judge the finished model on the test split, keep it, and end."""
        assert self.task is not None
        final = dict(self.last_evaluation)
        final |= self._measure("test")
        final |= self.task.baselines()
        self._end(Reason.FINISHED, detail, final)

    def _fail(self, error: Exception) -> None:
        if takes_no_more(error):  # no fault of this run: it goes on from its checkpoint
            self.lock.release()
            raise error
        self.on_error(error)
        if isinstance(error, DivergedError):
            self._end(Reason.DIVERGED, str(error))
            return
        self._log(error)
        hint = f" (hint: {error.hint})" if isinstance(error, InputError) and error.hint else ""
        name = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
        reason = Reason.OUT_OF_MEMORY if ran_out(error) else Reason.FAILED
        self._end(reason, f"{name}{error}{hint}")

    def _log(self, error: Exception) -> None:
        with contextlib.suppress(OSError):  # a full disk: the reason still goes to the reporter
            self.directory.mkdir(parents=True, exist_ok=True)
            with (self.directory / "log.txt").open("a") as log:
                log.write("".join(traceback.format_exception(error)))

    def _end(self, reason: Reason, detail: str, final: dict[str, float] | None = None) -> None:
        """Leave a checkpoint where the state is sound, say how it ended, free the memory."""
        if self.config.checkpoint.enable and not reason.failure:
            self._save()
        self.engine.remove(self.id)
        if self.board is not None:
            self.board.close()
        final = dict(self.last_evaluation) if final is None else final
        self.result = FitResult(self.id, reason, detail, self.step, self.watch.seconds, final)
        self.reporter.ended(self.result)
        self.lock.release()
