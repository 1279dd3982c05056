"""How far a sweep is: what a person following it wants to know, as plain values.

`Progress` takes what a reader of the ledger found since its last look, and answers: the trials
with their curves, how many are in which state, the best so far, how long the rest will take.
It reads nothing itself and has no clock. `watch.py` feeds it, `progress_table.py` lays it out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any

from orchestrator.cohort import predicted_s
from orchestrator.ledger import Event, Standing, State, TrialRecord
from orchestrator.objective import Objective
from orchestrator.pace import Pace
from orchestrator.sparkline import Curve
from trainer.reporting import Reason

STAND_INS = ("val/loss", "train/loss")
"""What the curve shows, in this order, while the objective has no two values yet."""

RESUMES = re.compile(r"resumes at step (\d+)")
"""What the trainer notes where it starts from a checkpoint."""

MOST_BEST = 3
"""Best trials shown where there is no room for all."""


@dataclass
class Track:
    """One trial as it is followed.

    Args:
        id: Trial id.
        position: Its place in the plan, from 0.
        changed: The axes of the space and this trial's values.
        seed: `training.seed`.
        steps: Steps of the whole run.
        work_s: Predicted seconds of the whole run.
        state: Waiting, running or ended.
        reason: Why it ended; None before.
        detail: One sentence for a person.
        step: Optimizer steps done.
        active_s: Seconds spent on it in the attempts that ended.
        value: The objective of a finished trial.
        begun_step: The step this attempt at it began from; None where it did not begin.
        begun_at: When that was, in seconds since 1970.
        cohort: The trials that share its process; empty while it has none.
        curves: By metric, what has been read of the objective and of its stand-ins.
        best: The best value of the objective that was read.
        read_step: The last step of which the curves have the row.
    """

    id: str
    position: int
    changed: dict[str, Any]
    seed: int
    steps: int
    work_s: float
    state: State
    reason: Reason | None
    detail: str
    step: int
    active_s: float
    value: float | None
    begun_step: int | None = None
    begun_at: float | None = None
    cohort: tuple[str, ...] = ()
    curves: dict[str, Curve] = field(default_factory=dict)
    best: float | None = None
    read_step: int = 0

    @property
    def label(self) -> str:
        """The reason where it ended, its state before."""
        return self.reason.value if self.reason is not None else self.state.value

    @property
    def left_s(self) -> float:
        """Predicted seconds that are left of it."""
        return 0.0 if self.state is State.ENDED else self._share(self.step, self.steps)

    @property
    def done_s(self) -> float:
        """Predicted seconds that this attempt at the sweep has done; all, once it ended."""
        if self.begun_step is None:
            return 0.0
        return self._share(self.begun_step, self.steps if self.state is State.ENDED else self.step)

    def _share(self, first: int, last: int) -> float:
        return self.work_s * max(0, last - first) / max(1, self.steps)

    def time_s(self, at: float) -> float:
        """Return the seconds spent on it; a process that is shared counts in equal parts.

        Args:
            at: Now, in seconds since 1970.
        """
        if self.state is not State.RUNNING or self.begun_at is None:
            return self.active_s
        return self.active_s + max(0.0, at - self.begun_at) / max(1, len(self.cohort))

    def last(self, metric: str) -> float | None:
        """Return the newest value of a metric that was read."""
        curve = self.curves.get(metric)
        return curve.last if curve is not None else None

    def curve(self, objective: Objective) -> tuple[str, Curve] | None:
        """Return the metric and the curve to show; None while there is none."""
        names = [name for name in (objective.metric, *STAND_INS) if name in self.curves]
        long = [name for name in names if len(self.curves[name]) > 1]
        chosen = (long or names)[:1]
        return (chosen[0], self.curves[chosen[0]]) if chosen else None


class Progress:
    """A sweep as it is followed.

    Args:
        name: Of the sweep.
        objective: What it is judged by.
        trials: As the ledger has them now.
    """

    def __init__(self, name: str, objective: Objective, trials: Sequence[TrialRecord]) -> None:
        self.name, self.objective = name, objective
        self.tracks = {trial.id: _track(trial, objective) for trial in trials}
        self.axes = tuple(dict.fromkeys(axis for trial in trials for axis in trial.changed))
        self.running = {t.id: t for t in self.tracks.values() if t.state is State.RUNNING}
        self.began_s: float | None = None
        self.now_s, self.at = 0.0, 0.0
        self.closed = False
        self._workers = 1
        self._counts: Counter[str] = Counter()
        self._left_s = self._done_s = 0.0
        for track in self.tracks.values():
            self._add(track)
        self._ended: list[Track] = []
        self._best: list[Track] = []
        self._file(t for t in self.tracks.values() if t.state is State.ENDED)
        self._cohorts: dict[str, tuple[str, ...]] = {}
        self._pace = Pace()

    # What a reader tells

    def take(self, events: Iterable[Event]) -> list[str]:
        """Take events in their order; return the trials they touched, by the last of each."""
        touched: dict[str, None] = {}
        for event in events:
            if event.kind == "began":
                self._begin(event.at)
            elif event.kind == "placed":
                ids = tuple(event.detail.rpartition(": ")[2].split())
                self._cohorts |= dict.fromkeys(ids, ids)
            track = self.tracks.get(event.trial_id or "")
            if track is None:
                continue
            touched.pop(track.id, None)
            touched[track.id] = None
            if event.kind == "started":
                self._remove(track)
                found = RESUMES.search(event.detail)
                track.step = track.begun_step = int(found[1]) if found else 0
                track.begun_at = event.at
                track.cohort = self._cohorts.get(track.id, (track.id,))
                self._add(track)
        return list(touched)

    def _add(self, track: Track, sign: int = 1) -> None:
        """Count a trial in the sums; with a thousand of them they are not added up each time."""
        self._counts[track.label] += sign
        self._left_s += sign * track.left_s
        self._done_s += sign * track.done_s

    def _remove(self, track: Track) -> None:
        """Take a trial that is about to change out of the sums."""
        self._add(track, -1)

    def _begin(self, at: float) -> None:
        """Forget the attempts before: their pace says nothing about this one."""
        self.began_s, self._cohorts, self._done_s = at, {}, 0.0
        for track in self.tracks.values():
            track.begun_step, track.begun_at, track.cohort = None, None, ()

    def settle(self, standings: Iterable[Standing]) -> None:
        """Take how trials stand in the ledger now, those that ended in the order they did."""
        ended = []
        for standing in standings:
            track = self.tracks[standing.id]
            self._remove(track)
            track.state, track.reason = standing.state, standing.reason
            track.detail, track.step = standing.detail, standing.step
            track.active_s = standing.active_s
            self._add(track)
            self.running.pop(track.id, None)
            if track.state is State.RUNNING:
                self.running[track.id] = track
            elif track.state is State.ENDED:
                if track.reason is Reason.FINISHED:
                    track.value = standing.final.get(self.objective.metric)
                ended.append(track)
        self._file(ended)
        self._workers = max(self._workers, len({track.cohort for track in self.running.values()}))

    def _file(self, ended: Iterable[Track]) -> None:
        """Keep the last that ended and the best."""
        new = list(ended)
        self._ended += new
        known = {t.id: t for t in (*self._best, *new) if t.value is not None}
        sign = 1.0 if self.objective.mode == "min" else -1.0
        order = sorted(known.values(), key=lambda t: (sign * (t.value or 0.0), t.position))
        self._best = order[:MOST_BEST]

    def extend(self, trial_id: str, rows: Iterable[tuple[int, dict[str, float]]]) -> None:
        """Take rows of a trial that came after its `read_step`."""
        track = self.tracks[trial_id]
        for step, metrics in rows:
            track.read_step = step
            for name in dict.fromkeys((self.objective.metric, *STAND_INS)):
                if name in metrics:
                    track.curves.setdefault(name, Curve()).add(metrics[name])
            value = metrics.get(self.objective.metric)
            if value is not None and (track.best is None or self.better(value, track.best)):
                track.best = value

    def observe(self, now_s: float, at: float) -> None:
        """Note that it stands so now.

        Args:
            now_s: Seconds of a clock that only goes forward.
            at: Seconds since 1970.
        """
        self.now_s, self.at = now_s, at
        if self.began_s is None:
            self.began_s = now_s
        if self._pace.begun:
            self._pace.observe(now_s, self._done_s)
        elif self._done_s > 0:
            self._pace.begin(now_s, self._done_s)

    def close(self) -> None:
        """Note that no process trains any more; what ran was cut off, and waits for a resume."""
        for track in self.running.values():
            self._remove(track)
            track.state, track.detail = State.WAITING, f"cut off after step {track.step}"
            self._add(track)
        self.running, self.closed = {}, True

    def look_back(self, at: float) -> None:
        """Note that it stands so now, where all there is of the time before are the events.

        Args:
            at: Seconds since 1970.
        """
        begun = [t.begun_at for t in self.tracks.values() if t.begun_at is not None]
        self.now_s = self.at = at
        if begun:
            self._pace.begin(min(begun), 0.0)
            self._pace.observe(at, self._done_s)

    # What is asked of it

    def better(self, value: float, than: float) -> bool:
        """Return whether one objective is better than another."""
        return value < than if self.objective.mode == "min" else value > than

    @property
    def planned(self) -> int:
        """How many trials there are."""
        return len(self.tracks)

    @property
    def done(self) -> int:
        """How many of them have ended for good, for whatever reason."""
        return sum(self._counts[reason.value] for reason in Reason if not reason.resumable)

    @property
    def counts(self) -> dict[str, int]:
        """How many trials are in which state, those that ended by their reason."""
        order = [State.RUNNING.value, State.WAITING.value, *(reason.value for reason in Reason)]
        return {label: self._counts[label] for label in order if self._counts[label]}

    @property
    def best(self) -> Track | None:
        """The finished trial with the best objective; equals in the order of the plan."""
        return self._best[0] if self._best else None

    @property
    def leading(self) -> Track | None:
        """The running trial whose last objective is the best, of those that were read."""
        found: tuple[float, Track] | None = None
        for track in self.running.values():
            last = track.last(self.objective.metric)
            if last is not None and (found is None or self.better(last, found[0])):
                found = last, track
        return found[1] if found is not None else None

    @property
    def begun(self) -> bool:
        """True once this attempt has trained something."""
        return self._pace.begun

    @property
    def elapsed_s(self) -> float:
        """Seconds since this attempt at the sweep began."""
        return self.now_s - self.began_s if self.began_s is not None else 0.0

    @property
    def eta_s(self) -> float | None:
        """Seconds to the end of the last trial; None while they cannot be told."""
        if self.closed or self.done == self.planned:
            return None
        lanes: dict[tuple[str, ...], float] = {}
        for track in self.running.values():
            lanes[track.cohort] = lanes.get(track.cohort, 0.0) + track.left_s
        return self._pace.eta_s(self.now_s, self._left_s, list(lanes.values()), self._workers)

    def select(self, room: int) -> list[Track]:
        """Return the trials to show, in the order of the plan.

        All, where there is room. Otherwise the best, those that run, the last that ended and
        the next that wait, as far as the room goes.

        Args:
            room: Most trials.
        """
        if self.planned <= room:
            return list(self.tracks.values())
        waiting = (track for track in self.tracks.values() if track.state is State.WAITING)
        last = (track for track in reversed(self._ended) if track.state is State.ENDED)
        order = chain(self._best[: room // 3], self.running.values(), last, waiting)
        chosen = dict(islice(((track.position, track) for track in unique(order)), room))
        return [chosen[position] for position in sorted(chosen)]


def unique(tracks: Iterable[Track]) -> Iterator[Track]:
    """Yield each trial at its first place."""
    seen: set[str] = set()
    for track in tracks:
        if track.id not in seen:
            seen.add(track.id)
            yield track


def _track(trial: TrialRecord, objective: Objective) -> Track:
    return Track(
        id=trial.id,
        position=trial.position,
        changed=trial.changed,
        seed=trial.seed,
        steps=int(trial.config["training"]["steps"]),
        work_s=predicted_s(trial),
        state=trial.state,
        reason=trial.reason,
        detail=trial.detail,
        step=trial.step,
        active_s=trial.active_s,
        value=objective.value(trial),
    )
