"""What one training run is: every setting with its type, unit and range.

Read the sections first, then `RunConfig`. Nothing here imports torch, so that a wrong
setting is refused before anything heavy is loaded. Unknown keys are errors, numbers are
finite, and a `bool` or a string is never taken for a number.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from trainer.section import Section
from trainer.spectral_config import ArielData, LossConfig, SpectralConfig, SymbolicConfig

FFN_RATIO = 4
"""Inner width / dim where `model.ffn_dim` is not given."""
CORPUS_SEQ_LEN = 256
"""Tokens a sequence where `training.seq_len` is not given."""
BYTES = 256
"""Symbols of the byte tokenizer where `model.vocab_size` is not given."""


def _default(key: str, value: str) -> Callable[[Any], Any]:
    """Name the variant of a section that does not name its own."""

    def fill(section: Any) -> Any:
        return {key: value} | section if isinstance(section, dict) else section

    return fill


def _switch(on: str, off: str) -> Callable[[Any], Any]:
    """Read true and false, as older files have them, as the words they mean."""
    return lambda value: {True: on, False: off}[value] if isinstance(value, bool) else value


class DecoderConfig(Section):
    """A causal transformer, from wide and shallow to deep and narrow."""

    kind: Literal["decoder"] = "decoder"
    name: str | None = Field(None, description="label for reports; decides nothing")
    dim: int = Field(128, ge=2, description="width of the residual stream")
    n_layers: int = Field(4, ge=1)
    n_heads: int = Field(4, ge=1, description="attention heads; divides dim")
    vocab_size: int | None = Field(
        None, ge=2, description="rows of the embedding; what a BPE tokenizer is trained to"
    )
    ffn: Literal["swiglu", "gelu", "relu"] = "swiglu"
    ffn_dim: int | None = Field(None, ge=1, description="inner width; 4 x dim when not given")
    norm_type: Literal["rmsnorm", "layernorm", "postnorm", "deepnorm", "none"] = Field(
        "rmsnorm",
        description="rmsnorm and layernorm stand before each block, postnorm and deepnorm after it",
    )
    position: Literal["rope", "learned"] = "rope"
    rope_theta: float = Field(10_000.0, gt=0)
    dropout: float = Field(0.0, ge=0, lt=1)
    tie_embeddings: bool = Field(False, description="read-out shares the embedding's weights")

    @model_validator(mode="after")
    def _heads_fit(self) -> DecoderConfig:
        if self.dim % self.n_heads:
            raise ValueError(
                f"n_heads must divide dim: got n_heads {self.n_heads} and dim {self.dim}"
            )
        if self.position == "rope" and (self.dim // self.n_heads) % 2:
            raise ValueError(
                f"rope rotates pairs, so dim / n_heads must be even: got {self.dim} /"
                f" {self.n_heads} = {self.dim // self.n_heads}"
            )
        return self

    @property
    def inner_dim(self) -> int:
        """Width inside the feed-forward block."""
        return self.ffn_dim if self.ffn_dim is not None else FFN_RATIO * self.dim


class QuadraticMLPConfig(Section):
    """Two embeddings summed, squared, read out (Gromov 2023, arXiv 2301.02679)."""

    kind: Literal["quadratic_mlp"] = "quadratic_mlp"
    name: str | None = Field(None, description="label for reports; decides nothing")
    dim: int = Field(128, ge=1, description="hidden width")


ModelConfig = Annotated[
    DecoderConfig | QuadraticMLPConfig | SpectralConfig,
    Field(discriminator="kind"),
    BeforeValidator(_default("kind", "decoder")),
]


class CorpusData(Section):
    """Next-token prediction on a text, split by position."""

    task: Literal["corpus"] = "corpus"
    dataset_path: str = Field(
        "kjv",
        min_length=1,
        description="`kjv` or `shakespeare` (they ship), or a UTF-8 file, plain or .xz",
    )
    tokenizer: Literal["byte", "char", "bpe"] = "byte"
    tokenizer_path: str | None = Field(
        None, description="a tokenizer.json to use instead of training a BPE"
    )
    train_frac: float = Field(0.9, gt=0, lt=1, description="leading share of the text")
    val_frac: float = Field(0.05, gt=0, lt=1, description="share that follows; the rest is test")

    @model_validator(mode="after")
    def _shares_fit(self) -> CorpusData:
        if self.train_frac + self.val_frac > 1 + 1e-9:
            raise ValueError(
                "train_frac + val_frac must be at most 1:"
                f" got {self.train_frac} + {self.val_frac} = {self.train_frac + self.val_frac:g}"
            )
        if self.tokenizer_path is not None and self.tokenizer != "bpe":
            raise ValueError(
                f'tokenizer_path needs tokenizer "bpe": got tokenizer "{self.tokenizer}"'
            )
        return self


class ModularData(Section):
    """All pairs (a, b) of a modular operation, a share of them for training."""

    task: Literal["modular"] = "modular"
    operation: Literal["add", "subtract", "multiply", "divide", "quadratic"] = Field(
        "add", description="quadratic is x^2 + xy + y^2; divide leaves out b = 0"
    )
    p: int = Field(97, ge=3, le=4096, description="modulus")
    train_frac: float = Field(0.5, gt=0, lt=1, description="share of the pairs trained on")

    @model_validator(mode="after")
    def _prime_for_division(self) -> ModularData:
        if self.operation == "divide" and any(
            self.p % k == 0 for k in range(2, int(self.p**0.5) + 1)
        ):
            raise ValueError(f"divide needs a prime modulus: got p {self.p}")
        return self


DataConfig = Annotated[
    CorpusData | ModularData | ArielData,
    Field(discriminator="task"),
    BeforeValidator(_default("task", "corpus")),
]


class TrainingConfig(Section):
    """How the weights are learned."""

    seed: int = Field(0, ge=0, lt=2**31, description="initial weights, data order and split")
    steps: int = Field(1000, ge=1, description="optimizer steps; they shape the schedule")
    epochs: int | None = Field(
        None,
        ge=1,
        description="in place of steps: times all views of the training planets are seen",
    )
    batch_size: Annotated[int, Field(ge=1)] | Literal["full"] = Field(
        16, description="effective batch in sequences, at least 1; `full` is the whole train split"
    )
    seq_len: int | None = Field(None, ge=2, description="tokens a sequence (corpus: 256)")
    learning_rate: float = Field(3e-4, gt=0, description="peak of the schedule")
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup_steps: int = Field(0, ge=0, description="linear rise from 0 to learning_rate")
    final_lr_frac: float = Field(0.1, ge=0, le=1, description="end of the decay / learning_rate")
    weight_decay: float = Field(0.1, ge=0, description="decoupled, on matrices only")
    beta1: float = Field(0.9, ge=0, lt=1)
    beta2: float = Field(0.95, ge=0, lt=1)
    eps: float = Field(1e-8, gt=0)
    grad_clip: float | None = Field(1.0, gt=0, description="largest global gradient norm")
    eval_interval: int = Field(250, ge=1, description="steps between evaluations")
    eval_epochs: int | None = Field(None, ge=1, description="in place of eval_interval")
    eval_tokens: int | None = Field(
        65_536, ge=1, description="held-out tokens an evaluation reads; none given: all"
    )

    @model_validator(mode="after")
    def _fits_together(self) -> TrainingConfig:
        if self.epochs is None and self.warmup_steps > self.steps:
            raise ValueError(
                "warmup_steps must not exceed steps:"
                f" got warmup_steps {self.warmup_steps} and steps {self.steps}"
            )
        return self


IN_EPOCHS = {
    "training.epochs": "training.steps",
    "training.eval_epochs": "training.eval_interval",
    "checkpoint.epochs": "checkpoint.interval",
}
"""Settings that count epochs, each with the one that counts steps in its place (`epochs.py`)."""


class CheckpointConfig(Section):
    """What is kept on disk of a run."""

    enable: bool = Field(True, description="off: a run that is interrupted starts again")
    interval: int = Field(500, ge=1, description="steps between checkpoints")
    epochs: int | None = Field(None, ge=1, description="in place of interval")
    keep: int = Field(2, ge=1, description="newest checkpoints kept")


class LoggingConfig(Section):
    """What a run tells while it trains."""

    log_interval: int = Field(10, ge=1, description="steps between rows")
    enable_tensorboard: bool = True
    track_grad_norms: bool = False
    track_weight_norms: bool = False


class LimitsConfig(Section):
    """What ends a run early, with a checkpoint and a reason. Never moves its schedule."""

    wall_clock_minutes: float | None = Field(None, gt=0, description="of one attempt")
    max_gpu_memory_gib: float | None = Field(None, gt=0)
    max_host_memory_gib: float | None = Field(None, gt=0)
    stop_after_steps: int | None = Field(None, ge=1)
    stop_when_generalised: bool = Field(
        False, description="finish once validation accuracy holds its threshold (grokking.py)"
    )


class EvaluationConfig(Section):
    """What the quick evaluation of a checkpoint reads, and what it must reach."""

    time_budget_s: float = Field(
        300.0, gt=0, description="parts that do not fit in it are left out, by name"
    )
    tokens: int = Field(16_384, ge=1, description="tokens of each split the likelihood is read on")
    prefixes: int = Field(32, ge=1, description="prefixes of each split that are continued")
    prefix_tokens: int = Field(32, ge=1, description="tokens of a prefix")
    continuation_tokens: int = Field(32, ge=1, description="tokens each prefix is continued by")
    windows: int = Field(8, ge=1, description="held-out sequences activations are read on")
    probes: str | None = Field(
        "auto",
        min_length=1,
        description="questions: `kjv`, a .jsonl file, none; auto: `kjv` where that is the text",
    )
    max_bits_per_byte: float | None = Field(None, gt=0, description="gate, on held-out text")
    max_perplexity: float | None = Field(None, ge=1, description="gate, on held-out text")
    min_accuracy: float | None = Field(
        None, ge=0, le=1, description="gate, share of held-out targets that are the likeliest"
    )
    min_probe_accuracy: float | None = Field(
        None, ge=0, le=1, description="gate, share of the probes answered"
    )
    max_memorisation_gap: float | None = Field(
        None,
        ge=-1,
        le=1,
        description="gate, continuation accuracy on seen text less that on unseen text",
    )


TEXT_GATES = ("max_bits_per_byte", "max_perplexity", "min_probe_accuracy", "max_memorisation_gap")
"""Gates of `EvaluationConfig` on what only a text has."""


class TierConfig(Section):
    """How a run is executed on a class of hardware. Never what is learned."""

    name: str = "cpu"
    device: Literal["cpu", "cuda"] = "cpu"
    micro_batch: int | None = Field(None, ge=1, description="sequences a pass; none: all at once")
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    tf32: bool = Field(False, description="fp32 products in TF32, on GPUs that have it")
    attention: Literal["auto", "flash", "efficient", "math"] = "auto"
    activation_checkpointing: Annotated[
        Literal["off", "selective", "full"], BeforeValidator(_switch("full", "off"))
    ] = Field(
        "off",
        description="computed again in the backward pass: selective is all but matrix products"
        " and attention, full is each block",
    )
    compile: Annotated[Literal["auto", "on", "off"], BeforeValidator(_switch("on", "off"))] = Field(
        "auto", description="torch.compile and CUDA graphs; auto: where they pay"
    )
    cpus: int = Field(1, ge=1, description="CPU cores, and torch threads, a process gets")
    workers: int = Field(
        1, ge=1, description="processes that train one model together on CPUs; on GPUs: tier.gpus"
    )
    gpus: float | None = Field(
        None,
        gt=0,
        description="share of a GPU, or whole GPUs, a cuda trial gets; none: by predicted memory",
    )

    @property
    def ranks(self) -> int:
        """Processes that train one model together."""
        return self.workers if self.device == "cpu" else max(1, int(self.gpus or 1))

    @model_validator(mode="after")
    def _several_processes(self) -> TierConfig:
        if self.workers > 1 and self.device == "cuda":
            raise ValueError(
                f'workers is for device "cpu": got {self.workers} on device "cuda";'
                f" gpus = {self.workers} trains on as many GPUs"
            )
        if self.compile == "on" and self.ranks > 1:
            raise ValueError(
                f'compile "on" is for a model in one process: got {self.ranks}; compile = "auto"'
            )
        return self

    @model_validator(mode="after")
    def _whole_gpus(self) -> TierConfig:
        if self.gpus is not None and self.gpus > 1 and self.gpus != int(self.gpus):
            raise ValueError(
                f"gpus is a share of one GPU or a whole number: got {self.gpus:g},"
                f" expected at most 1, or {int(self.gpus)} or {int(self.gpus) + 1}"
            )
        return self


MODELS = {
    "corpus": ("decoder",),
    "modular": ("decoder", "quadratic_mlp"),
    "ariel": ("spectral",),
}
"""Kinds of model that read what a task gives."""
WHOLE = {"modular": "a pair is one sequence", "ariel": "a visit has data.frames frames"}
"""What stands for a sequence on a task without a text."""


class RunConfig(Section):
    """Everything that decides one run, and how it is executed and watched.

    `model`, `data` and `training`, and of spectra `loss` and `symbolic`, decide the result and make
    the trial id (`trainer.identity`); the other sections do not.
    """

    model: ModelConfig = Field(default_factory=DecoderConfig)
    data: DataConfig = Field(default_factory=CorpusData)
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    loss: LossConfig = Field(default_factory=LossConfig)
    symbolic: SymbolicConfig = Field(default_factory=SymbolicConfig)
    checkpoint: CheckpointConfig = Field(default_factory=CheckpointConfig)
    logging: LoggingConfig = Field(default_factory=LoggingConfig)
    limits: LimitsConfig = Field(default_factory=LimitsConfig)
    evaluation: EvaluationConfig = Field(default_factory=EvaluationConfig)
    tier: TierConfig = Field(default_factory=TierConfig)

    @model_validator(mode="after")
    def _task_can_honour(self) -> RunConfig:
        """Refuse a setting that the task or the model would have to ignore."""
        kinds = MODELS[self.data.task]
        if self.model.kind not in kinds:
            expected = " or ".join(f'"{kind}"' for kind in kinds)
            raise ValueError(
                f'model.kind "{self.model.kind}" does not read these data: task {self.data.task}'
                f" needs {expected}"
            )
        if isinstance(self.data, CorpusData):
            self._corpus_can_honour(self.data)
        else:
            self._refuse_text()
        if self.data.task != "modular":
            self._refuse_accuracy()
        if self.data.task != "ariel":
            self._refuse_spectra()
        if self.evaluation.probes is None and self.evaluation.min_probe_accuracy is not None:
            raise ValueError(
                "evaluation.min_probe_accuracy needs probes: got evaluation.probes none"
            )
        return self

    def _corpus_can_honour(self, data: CorpusData) -> None:
        assert isinstance(self.model, DecoderConfig)
        if (
            data.tokenizer == "bpe"
            and self.model.vocab_size is None
            and data.tokenizer_path is None
        ):
            raise ValueError(
                "model.vocab_size is what the bpe tokenizer is trained to: got none,"
                " expected a number of at least 257"
            )

    def _refuse_text(self) -> None:
        """Refuse what only a text has."""
        task = self.data.task
        if self.training.seq_len is not None:
            raise ValueError(
                f"training.seq_len has no effect on task {task} ({WHOLE[task]}):"
                f" got {self.training.seq_len}; leave it out"
            )
        if isinstance(self.model, DecoderConfig) and self.model.vocab_size is not None:
            raise ValueError(
                f"model.vocab_size follows from data.p on task modular:"
                f" got {self.model.vocab_size}; leave it out"
            )
        for key in TEXT_GATES:
            if (limit := getattr(self.evaluation, key)) is not None:
                raise ValueError(
                    f"evaluation.{key} judges a text, and task {task} has none:"
                    f" got {limit:g}; leave it out"
                )
        if self.evaluation.probes not in ("auto", None):
            raise ValueError(
                f"evaluation.probes are questions about a text, and task {task} has none:"
                f" got {self.evaluation.probes!r}; leave it out"
            )

    def _refuse_accuracy(self) -> None:
        """Refuse what only a table of answers has."""
        if self.training.batch_size == "full":
            raise ValueError('training.batch_size "full" needs task modular; give a number')
        if self.limits.stop_when_generalised:
            raise ValueError(
                "limits.stop_when_generalised needs an accuracy that saturates: task"
                f" {self.data.task} has none; leave it out"
            )

    def _refuse_spectra(self) -> None:
        """Refuse what only spectra have."""
        task = self.data.task
        for section, default in (("loss", LossConfig()), ("symbolic", SymbolicConfig())):
            if getattr(self, section) != default:
                raise ValueError(
                    f"{section} judges spectra, and task {task} has none: leave it out"
                )
        for key, steps in IN_EPOCHS.items():
            section, _, leaf = key.partition(".")
            if (epochs := getattr(getattr(self, section), leaf)) is not None:
                raise ValueError(
                    f"{key} needs task ariel, whose planets are counted: got {epochs} on task"
                    f" {task}; {steps} counts steps"
                )

    @property
    def has_dropout(self) -> bool:
        """Whether a pass of the model draws random numbers."""
        return not isinstance(self.model, QuadraticMLPConfig) and self.model.dropout > 0

    @property
    def seq_len(self) -> int:
        """Tokens one training sequence holds: the inputs, without the shifted target.

        Of spectra, the frames of a visit.
        """
        if isinstance(self.data, ModularData):
            return 3
        if isinstance(self.data, ArielData):
            return self.data.frames
        return self.training.seq_len if self.training.seq_len is not None else CORPUS_SEQ_LEN
