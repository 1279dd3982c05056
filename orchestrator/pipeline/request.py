"""Read what was asked of a pipeline, and refuse all that is wrong with it before it begins."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from orchestrator.errors import Problem, StorageError, UsageError, gathering, shown
from orchestrator.executors import Execution
from orchestrator.hardware import Hardware
from orchestrator.layout import RunDirectory, new_run_directory
from orchestrator.pipeline.record import (
    HOW,
    Asked,
    Corpus,
    Record,
    all_pipelines,
    new_stages,
    read_record,
)
from orchestrator.plan import Plan, make_plan
from orchestrator.preview import preview
from orchestrator.reading import read_request
from orchestrator.request import Request
from orchestrator.revision import changes, described, read_revision
from trainer.config import BYTES, CorpusData, DecoderConfig, RunConfig
from trainer.errors import InputError
from trainer.evaluation import probe_file
from trainer.evaluation.result import NotApplicableError
from trainer.identity import fingerprint
from trainer.tasks.corpus import text

SIZES = (1024, 2048, 4096)
"""Vocabularies that are compared where neither the command nor a file names one."""
EVALUATIONS = 4
MOST_SIZES = 16
VOCABULARY = "model.vocab_size"


@dataclass(frozen=True)
class PipelineRequest:
    """What a person asked for, as given on the command line.

    Args:
        corpus: A UTF-8 text file, plain or .xz, or the name of a text that ships.
        vocab_size: Vocabulary sizes to compare, with commas; None: see `SIZES`.
        phrases: Entries of several words that the statistic may add to the vocabulary.
        phrases_file: A file of such entries, one a line.
        evaluations: Evaluations while it trains; another one follows at the end.
        run: How the training is composed, as for `arbiter train`.
    """

    corpus: str
    vocab_size: str | None = None
    phrases: int = 0
    phrases_file: Path | None = None
    evaluations: int = EVALUATIONS
    run: Request = field(default_factory=Request)


def read_pipeline_request(request: PipelineRequest, hardware: Hardware) -> tuple[Record, Plan]:
    """Return the record of a pipeline that has not begun, and the plan of its training.

    The plan is of the largest vocabulary: what fits with it fits with each.

    Raises:
        UsageError: All that is wrong, at once where it can be. Nothing was written.
    """
    with gathering() as gather:
        sizes: tuple[int, ...] | None = None
        with gather.step():
            sizes = None if request.vocab_size is None else read_sizes(request.vocab_size)
        with gather.step():
            corpus_text = _read_corpus(request.corpus)
        with gather.step():
            phrases = phrases_hash(request.phrases_file)
        with gather.step():
            reading = read_request(_with(request, None), hardware)
    named = VOCABULARY in {**reading.composition.settings, **reading.typed}
    if sizes is None and not named:
        sizes = SIZES
    plan = make_plan(_with(request, max(sizes) if sizes else None), hardware)
    config = plan.trials[0].config
    assert isinstance(config.model, DecoderConfig) and config.model.vocab_size is not None
    if sizes is None:
        sizes = read_sizes(str(config.model.vocab_size), plan.sources.get(VOCABULARY, ""))
    _check(config, request, sizes, plan.sources)
    assert isinstance(config.data, CorpusData)
    corpus = _corpus(config.data, corpus_text)
    notes = [*plan.notes, *_replaced(reading.composition.settings)]
    asked = Asked(
        corpus=request.corpus,
        base_config=None if request.run.base_config is None else str(request.run.base_config),
        scale=request.run.scale,
        tier=request.run.tier,
        overrides=list(request.run.overrides),
        vocab_sizes=list(sizes),
        phrases=request.phrases,
        phrases_file=None if request.phrases_file is None else str(request.phrases_file.absolute()),
        phrases_sha256=phrases,
        evaluations=request.evaluations,
    )
    decides = {
        "trial": plan.trials[0].id,
        "settings": config.model_dump(mode="json", exclude={*HOW, "data"}),
        "vocabularies": [*sizes],
        "phrases": [request.phrases, phrases],
        "evaluations": request.evaluations,
    }
    trial_free = decides | {
        "trial": None,
        "data": config.model_dump(mode="json", include={"data"}),
    }
    record = Record(
        name=request.run.name or "pipeline",
        hash=fingerprint(decides),
        asked_hash=fingerprint(trial_free),
        asked=asked,
        corpus=corpus,
        config=config.model_dump(mode="json"),
        sources=plan.sources,
        notes=list(dict.fromkeys(notes)),
        stages=new_stages(),
    )
    return record, plan


def read_sizes(given: str, place: str = "--vocab-size") -> tuple[int, ...]:
    """Return the vocabulary sizes of `1024,2048`.

    Raises:
        UsageError: They are not whole numbers above the byte alphabet, or too many.
    """
    words = [word.strip() for word in given.split(",")]
    if not all(re.fullmatch(r"[0-9][0-9_]*", word) and len(word) < 10 for word in words):
        message = f"got {shown(given)}, expected whole numbers with commas between them"
        raise UsageError(Problem(message, place, "--vocab-size 1024,2048"))
    sizes = tuple(int(word) for word in words)
    if small := [size for size in sizes if size <= BYTES]:
        message = f"got {small[0]}, expected at least {BYTES + 1}: the first {BYTES} are the bytes"
        raise UsageError(Problem(message, place, "--vocab-size 1024,2048"))
    if len(set(sizes)) < len(sizes) or len(sizes) > MOST_SIZES:
        message = f"got {shown(given)}, expected at most {MOST_SIZES} sizes, each of them once"
        raise UsageError(Problem(message, place))
    return tuple(sorted(sizes))


def _with(request: PipelineRequest, vocabulary: int | None) -> Request:
    """Return the request of the training, with what the pipeline itself decides."""
    corpus = request.corpus
    if corpus not in text.SHIPPED:
        corpus = str(Path(corpus).expanduser().absolute())
    settings: dict[str, tuple[Any, str]] = {
        "data.task": ("corpus", "--corpus"),
        "data.dataset_path": (corpus, "--corpus"),
        "data.tokenizer": ("bpe", "arbiter pipeline"),
        "data.tokenizer_path": (None, "arbiter pipeline"),
    }
    if vocabulary is not None:
        settings[VOCABULARY] = (vocabulary, "--vocab-size")
    return replace(request.run, settings=settings, max_trials=1)


def _read_corpus(corpus: str) -> str:
    try:
        return text.read(corpus)
    except InputError as error:
        message = str(error).removeprefix("data.dataset_path: ")
        hint = error.hint.replace("data.dataset_path=", "--corpus ")
        raise UsageError(Problem(message, "--corpus", hint)) from error


def phrases_hash(file: Path | None) -> str | None:
    """Return the SHA-256 of a file of phrases; None where there is no file.

    Raises:
        UsageError: It cannot be read.
    """
    if file is None:
        return None
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        message = f"cannot read {file}: {error.strerror}"
        hint = "a text file, one entry a line"
        raise UsageError(Problem(message, "--phrases-file", hint)) from error


def _check(
    config: RunConfig, request: PipelineRequest, sizes: Sequence[int], sources: dict[str, str]
) -> None:
    """Refuse what a pipeline cannot be made of."""
    problems = []
    if not config.checkpoint.enable:
        place = sources.get("checkpoint.enable", "")
        message = "checkpoint.enable: got false, and a pipeline evaluates its checkpoints"
        problems.append(Problem(message, place, "checkpoint.enable=true"))
    if request.evaluations >= config.training.steps:
        message = (
            f"got {request.evaluations}, expected fewer than training.steps"
            f" {config.training.steps}: an evaluation needs a step before it"
        )
        problems.append(Problem(message, "--evaluations"))
    with gathering() as gather:
        gather.problems += problems
        with gather.step():
            _check_vocabularies(config, request, sizes)
        with gather.step():
            _check_probes(config, sources)


def _check_probes(config: RunConfig, sources: dict[str, str]) -> None:
    """Refuse a file of probes that cannot be read, before anything is trained for them."""
    try:
        probe_file.chosen(config)
    except NotApplicableError:
        return
    except InputError as error:
        place = sources.get("evaluation.probes", "")
        raise UsageError(Problem(str(error), place, error.hint)) from error


def _check_vocabularies(config: RunConfig, request: PipelineRequest, sizes: Sequence[int]) -> None:
    """Refuse sizes and phrases that no vocabulary can be made of."""
    from trainer.tasks.corpus.vocabulary_order import Order

    data = config.data
    assert isinstance(data, CorpusData)
    text_and_shares = (data.train_frac, data.val_frac)
    try:
        Order(data.dataset_path, sizes, request.phrases, request.phrases_file, *text_and_shares)
    except InputError as error:
        key, _, message = str(error).partition(": ")
        if key != "data.dataset_path":
            place = "--phrases-file" if key == str(request.phrases_file) else ""
            raise UsageError(Problem(str(error), place, error.hint)) from error
        hint = error.hint.replace("data.dataset_path=", "--corpus ")
        raise UsageError(Problem(message, "--corpus", hint)) from error


def _corpus(data: CorpusData, content: str) -> Corpus:
    parts = text.split(content, data.train_frac, data.val_frac)
    return Corpus(
        path=data.dataset_path,
        sha256=text.content_hash(data.dataset_path),
        bytes=len(content.encode()),
        characters=len(content),
        lines=len(content.splitlines()),
        distinct=len(set(content)),
        split_characters={name: len(part) for name, part in parts.items()},
    )


def _replaced(settings: dict[str, tuple[Any, str]]) -> list[str]:
    """Say which settings of the files have no say in a pipeline."""
    notes = []
    for key, wanted in (("data.tokenizer", "bpe"), ("data.tokenizer_path", None)):
        value, place = settings.get(key, (wanted, ""))
        if value != wanted:
            notes.append(f"{place}: {key} = {value}: a pipeline trains a bpe tokenizer of its own")
    return notes


def place(record: Record, plan: Plan, root: Path, fresh: bool) -> tuple[RunDirectory, Record]:
    """Return where the pipeline is or will be, and its record as it stands; nothing is written.

    The same request goes on in the directory it has; how it is run may have changed.

    Raises:
        StorageError: What is there is damaged.
        UsageError: A pipeline of the same request has begun on another text in the same file.
    """
    if fresh:
        return new_run_directory(root, record.name, record.hash), record
    for directory in all_pipelines(root):
        same_hash = directory.path.name.endswith(record.hash[:4])
        if not same_hash and not _may_be(directory, record):
            continue
        found = read_record(directory)
        if found.hash == record.hash:
            found.config, found.sources, found.asked = record.config, record.sources, record.asked
            found.notes = record.notes
            return directory, found
        if found.asked_hash == record.asked_hash and not found.complete:
            raise corpus_changed(directory, found, record.corpus.sha256)
    return new_run_directory(root, record.name, record.hash), record


def _may_be(directory: RunDirectory, record: Record) -> bool:
    """Return whether a pipeline may be of the same request; a damaged one of another is let be."""
    try:
        return read_record(directory).asked_hash == record.asked_hash
    except StorageError:
        return False


def corpus_changed(directory: RunDirectory, record: Record, now: str) -> UsageError:
    """Return the error of a text that is not the one a pipeline began with."""
    message = (
        f"{record.corpus.path} has changed since {directory.shown()} began:"
        f" SHA-256 {record.corpus.sha256[:12]}… then, {now[:12]}… now"
    )
    hint = "put the text back to go on, or --fresh starts anew on the one that is there"
    return UsageError(Problem(message, "--corpus", hint))


def revise(
    record: Record, directory: RunDirectory, settings: Sequence[str], hardware: Hardware
) -> list[str]:
    """Put settings of how it is run over those of a pipeline; return what was read as what.

    Raises:
        UsageError: A setting would change what the report says.
    """
    revision = read_revision(settings, hardware)
    if not revision:
        return []
    before = record.run_config
    after = revision.over(before)
    decides = {
        key: change
        for key, change in changes(before, after).items()
        if key.partition(".")[0] not in HOW
    }
    if decides or not after.checkpoint.enable:
        lines = described([decides]) or ["checkpoint.enable: a pipeline evaluates its checkpoints"]
        message = "these settings decide what the report says, a resume cannot change them:"
        hint = "arbiter pipeline --corpus FILE … with them starts another one"
        raise UsageError(Problem("\n    ".join([message, *lines]), directory.shown(), hint))
    record.config = after.model_dump(mode="json")
    record.sources |= {key: place for key, (_, place) in revision.settings.items()}
    return list(revision.notes)


def notes_of(
    plan: Plan, hardware: Hardware, directory: RunDirectory, execution: Execution
) -> list[str]:
    """Return what `arbiter plan` would say of the training here: memory, time, disk."""
    return preview(plan, hardware, directory, execution).notes
