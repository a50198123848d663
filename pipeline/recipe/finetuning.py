"""Settings of fine-tuning, which a recipe has beside those of its network and its rate."""

from dataclasses import dataclass

from model.config import ConfigurationError


@dataclass(frozen=True, kw_only=True)
class FinetuningConfig:
    """How a run is fine-tuned; defaults are those of Switch (section 2.4) and mT5 (section 4.2).

    Attributes:
        tasks: names of the tasks.
        languages: languages of the training examples; all of the tasks' if empty. Evaluation has
            all languages.
        targets: decoder tokens per row.
        dropout: rate of dropout outside experts; that of experts is `model.switch.expert_dropout`.
        pretraining_share: share of rows that are pretraining's, against answers in the wrong
            language; mT5 has 0.01 in zero-shot generation.
    """

    tasks: tuple[str, ...]
    languages: tuple[str, ...] = ()
    targets: int = 16
    dropout: float = 0.1
    pretraining_share: float = 0.0

    def __post_init__(self):
        if self.targets < 1:
            raise ConfigurationError(
                f"finetuning.targets was {self.targets}; a target has 1 token or more."
            )
        for name in ("dropout", "pretraining_share"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigurationError(
                    f"finetuning.{name} was {getattr(self, name)}; it must be at least 0 and below "
                    "1."
                )
