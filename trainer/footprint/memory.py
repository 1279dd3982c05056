"""How much memory a process needs to train a config, at the worst moment of a step.

A closed form over what is live at the moments that can be the worst: while the loss is computed,
when its gradient is, at the first and the last block of the backward pass, when the weights change,
and in an evaluation.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from trainer.config import DecoderConfig, ModularData, QuadraticMLPConfig, RunConfig
from trainer.footprint import activations
from trainer.footprint.activations import WIDE, Pass
from trainer.footprint.parameters import parameter_count
from trainer.footprint.spectral import reading
from trainer.ladder import rows_a_pass
from trainer.spectral_config import SpectralConfig
from trainer.tasks import evaluation_rows
from trainer.units import GIB

CONTEXT = GIB
"""Of the CUDA context and the workspaces of its libraries."""
FRAGMENTATION = 0.1
"""Share of what is live that CUDA's allocator cannot use."""
LAUNCH_BOUND_TOKENS = 8192
"""Tokens a pass up to which a GPU waits for launches (80 layers, 1024 wide: 4 to 8 thousand)."""
PROCESS = int(0.4 * GIB)
"""Of a process that has imported torch, before it trains."""
EVALUATION_TOKENS = {"corpus": 16_384, "modular": 3 * 4096}
"""Tokens that an evaluation reads at once."""
EVALUATION_VISITS = 64
"""Visits that it reads at once."""


@dataclass(frozen=True)
class Memory:
    """What is live at the worst moment, in bytes.

    Args:
        weights: In fp32.
        gradients: In fp32.
        moments: AdamW's two, in fp32.
        activations: Kept for the backward pass, cast weights included.
        logits: Of the loss and its gradient.
        workspace: Gradients on their way; weights gathered from other GPUs.
        reserve: What the device needs beside: context and fragmentation, or the process.
    """

    weights: int = 0
    gradients: int = 0
    moments: int = 0
    activations: int = 0
    logits: int = 0
    workspace: int = 0
    reserve: int = 0

    @property
    def live(self) -> int:
        """Bytes that tensors take."""
        return self.total - self.reserve

    @property
    def total(self) -> int:
        """Bytes that the device must have."""
        return sum(getattr(self, field.name) for field in fields(self))

    def __str__(self) -> str:
        parts = {field.name: getattr(self, field.name) for field in fields(self)}
        named = ", ".join(f"{name} {n / GIB:.2f}" for name, n in parts.items() if n / GIB >= 0.005)
        return f"{self.total / GIB:.2f} GiB ({named})"


def peak_memory(config: RunConfig, vocab_size: int, members: int = 1) -> Memory:
    """Predict the memory that one process needs on its device; with several ranks, each.

    Args:
        config: The run config. A micro-batch is `tier.micro_batch`, or the whole batch.
        vocab_size: Input symbols, from `trainer.tasks.vocab_size`.
        members: Runs of this shape that the process trains in turns, or in a stack.
    """
    recorded = _may_be_recorded(config)
    moments = [
        step_memory(config, vocab_size, members, recorded=recorded),
        _evaluation(config, vocab_size, members),
    ]
    worst = max(moments, key=lambda memory: memory.total)
    if config.tier.device == "cpu":
        reserve = PROCESS
    else:
        reserve = round(FRAGMENTATION * worst.live) + CONTEXT
    return Memory(**{f.name: getattr(worst, f.name) for f in fields(worst)} | {"reserve": reserve})


def step_memory(
    config: RunConfig, vocab_size: int, members: int = 1, *, recorded: bool = False
) -> Memory:
    """Predict what tensors take at the worst moment of a training step, without a reserve.

    Args:
        config: The run config.
        vocab_size: Input symbols.
        members: Runs of this shape that the process trains.
        recorded: Whether a pass is replayed as a CUDA graph, which keeps the gradients where they are.
    """
    if isinstance(config.model, DecoderConfig):
        moments = _decoder(config, config.model, vocab_size, members, recorded)
    elif isinstance(config.model, SpectralConfig):
        moments = _spectral(config, vocab_size, members)
    else:
        moments = _quadratic(config, vocab_size, members)
    return max(moments, key=lambda memory: memory.total)


def rows_at_once(config: RunConfig) -> int:
    """Return the sequences of one forward pass of one process."""
    return rows_a_pass(config.tier, effective_batch(config))


def effective_batch(config: RunConfig) -> int:
    """Return the sequences of one optimizer step; a task may have fewer than were asked for."""
    batch = config.training.batch_size
    if isinstance(config.data, ModularData):
        data = config.data
        pairs = round(data.train_frac * data.p * (data.p - (data.operation == "divide")))
        return pairs if batch == "full" else min(batch, pairs)
    assert batch != "full"
    return batch


def stacks(config: RunConfig) -> bool:
    """Return whether members are computed side by side; `trainer.engines.stacked.pays` says why."""
    plain = config.tier.device == "cpu" and config.tier.precision == "fp32"
    whole = rows_at_once(config) == effective_batch(config)
    return isinstance(config.model, QuadraticMLPConfig) and plain and whole


def _decoder(
    config: RunConfig, model: DecoderConfig, vocab_size: int, members: int, recorded: bool
) -> list[Memory]:
    """Return what is live at each moment that may be the worst."""
    parameters = parameter_count(config, vocab_size)
    held = recorded or rows_at_once(config) * config.tier.ranks < effective_batch(config)
    size = Pass(model, config.tier, rows_at_once(config), config.seq_len)
    layers = model.n_layers
    ranks = config.tier.ranks
    shard = -(-parameters // ranks)
    table = WIDE * vocab_size * model.dim
    of_block = WIDE * sum(activations.block_parameters(model))
    gathered = 0 if ranks == 1 else 2 * of_block + 2 * table
    rest = WIDE * parameters - layers * of_block
    of_ends = activations.ends(size, vocab_size)
    kept = layers * activations.kept(size) + size.stream + of_ends
    recomputes = config.tier.activation_checkpointing != "off"
    again = activations.recomputed(size) if recomputes else 0
    cache = layers * activations.weight_copies(size) if recomputes else 0
    logits = _logits(config, size.tokens, size.narrow, vocab_size)
    way = activations.gradients_on_their_way(size)
    whole = WIDE * parameters // ranks

    def at(gradients: int, kept: int = 0, logits: int = 0, workspace: int = 0) -> Memory:
        others = (members - 1) * WIDE * shard  # gradients that the others keep between turns
        return Memory(
            weights=members * WIDE * shard,
            gradients=(whole if held else gradients) + others,
            moments=2 * members * WIDE * shard,
            activations=kept,
            logits=logits,
            workspace=workspace + gathered,
        )

    first = activations.kept(size) + size.stream
    return [
        at(0, kept + cache, logits[0]),
        at(0, kept, logits[1]),
        at(min(rest, whole), kept - of_ends + again, 0, way),
        at(max(0, whole - of_block), first + again, 0, way),
        at(whole),
    ]


def _may_be_recorded(config: RunConfig) -> bool:
    """Return whether a pass may become a CUDA graph; `trainer.computation` leaves it in a short run."""
    model, tier = config.model, config.tier
    if not isinstance(model, DecoderConfig) or tier.device == "cpu" or tier.ranks > 1:
        return False
    tokens = rows_at_once(config) * config.seq_len
    small = tier.compile == "on" or tokens <= LAUNCH_BOUND_TOKENS
    return tier.compile != "off" and not model.dropout and small


def _logits(config: RunConfig, tokens: int, narrow: int, vocab_size: int) -> tuple[int, int]:
    """Return the bytes of the loss while it is computed, and of its gradient.

    Logits, their fp32 copy where they are narrow, and their log-softmax; then the log-softmax and
    the gradients before and after it. A modular task's loss reads one position of three, and its
    gradient is spread over all three again.
    """
    numbers = tokens * vocab_size
    if isinstance(config.data, ModularData):
        answers = numbers // 3
        copy = answers * WIDE if narrow < WIDE else 0
        return numbers * narrow + copy + answers * WIDE, max(
            3 * WIDE * answers, (WIDE + narrow) * answers + numbers * narrow
        )
    copy = numbers * WIDE if narrow < WIDE else 0
    return numbers * narrow + copy + numbers * WIDE, 3 * WIDE * numbers


def _evaluation(config: RunConfig, vocab_size: int, members: int) -> Memory:
    """Return what is live in an evaluation. A micro-batch bounds its passes too."""
    if isinstance(config.model, SpectralConfig):
        return _spectral_evaluation(config, vocab_size, members)
    row, most = config.seq_len, EVALUATION_TOKENS[config.data.task]
    tokens = row * evaluation_rows(config.tier, row, max(1, most // row))
    if config.training.eval_tokens is not None and config.data.task == "corpus":
        tokens = min(tokens, max(config.training.eval_tokens, config.seq_len))
    shard = members * WIDE * -(-parameter_count(config, vocab_size) // config.tier.ranks)
    logits, _ = _logits(config, tokens, _narrow(config), vocab_size)
    return Memory(weights=shard, gradients=shard, moments=2 * shard, logits=logits)


def _spectral(config: RunConfig, wavelengths: int, members: int) -> list[Memory]:
    """Return the moments of a model of spectra."""
    rows, batch = rows_at_once(config), effective_batch(config)
    read = reading(config, wavelengths, batch, rows)
    weights = WIDE * parameter_count(config, wavelengths)
    of_others = (members - 1) * weights
    held = weights if rows * config.tier.ranks < batch else 0
    cast = weights // 2 if read.casts else 0
    kept = read.inputs + read.kept + read.backwards

    def at(gradients: int, activations: int, logits: int = 0, workspace: int = 0) -> Memory:
        return Memory(
            weights=members * weights,
            gradients=gradients + of_others,
            moments=2 * members * weights,
            activations=activations,
            logits=logits,
            workspace=workspace,
        )

    one_way = read.kept // 2 if read.mirrored else 0
    return [
        at(held, read.inputs + read.backwards + one_way + cast, 0, read.turning),
        at(held, kept + cast, read.judged),
        at(weights, read.inputs + read.backwards + one_way, 0, read.late),
    ]


def _spectral_evaluation(config: RunConfig, wavelengths: int, members: int) -> Memory:
    """Return what is live while visits are evaluated, forwards and backwards."""
    rows = evaluation_rows(config.tier, config.seq_len, EVALUATION_VISITS)
    read = replace(reading(config, wavelengths, rows, rows), mirrored=True)
    state = members * WIDE * parameter_count(config, wavelengths)
    return Memory(
        weights=state,
        gradients=state,
        moments=2 * state,
        activations=read.inputs + read.backwards,
        logits=read.judged,
        workspace=read.turning,
    )


def _quadratic(config: RunConfig, vocab_size: int, members: int) -> list[Memory]:
    """Return the moments of the quadratic MLP."""
    accumulates = rows_at_once(config) < effective_batch(config)
    symbols = vocab_size - 1
    rows, side = rows_at_once(config), members if stacks(config) else 1
    narrow = _narrow(config)
    stream = WIDE * rows * config.model.dim
    kept = 2 * stream if narrow == WIDE else stream + narrow * rows * config.model.dim
    forward, backward = (
        side * n // 3 if narrow == WIDE else side * n
        for n in _logits(config, rows, narrow, symbols)
    )
    state = members * WIDE * parameter_count(config, vocab_size)

    def at(gradients: int, kept: int = 0, logits: int = 0, workspace: int = 0) -> Memory:
        return Memory(
            state, state if accumulates else gradients, 2 * state, kept, logits, workspace
        )

    return [
        at(0, side * (kept + stream), forward),
        at(0, side * kept, backward),
        at(state, side * stream, 0, side * 4 * stream),
        at(state),
    ]


def _narrow(config: RunConfig) -> int:
    """Return the bytes of a number that products are computed in."""
    return WIDE if config.tier.precision == "fp32" else 2
