"""`mswitch fill`: the text that a run generates for the gaps of a text, greedily or sampled."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import tyro

from model.config import Sampling
from pipeline.command import Stage
from pipeline.fields import Hosts, In, Range, Run
from pipeline.stage import Job


@dataclass(frozen=True, kw_only=True)
class Fill(Stage):
    """Fill the gaps of a text with a run's model, or answer a text."""

    example: ClassVar = "--run runs/switch 'Paris is the <extra_id_0> of France.'"

    text: Annotated[str, tyro.conf.Positional]
    """Text with the gaps <extra_id_0>, <extra_id_1>, ...; for a fine-tuned, imported or
    pruned run also one without a gap, in the words of its task, which is answered."""
    run: In[Run]
    """Directory that `mswitch pretrain`, `finetune`, `distill`, `prune` or `import-hf` wrote."""
    tokens: Annotated[int, Range(least=1)] = 32
    """Largest number of tokens to generate."""
    temperature: float = 0.0
    """0 takes the most likely token; above 0 tokens are sampled, at 1 from the model's
    distribution."""
    top_k: int = 0
    """Number of most likely tokens to sample from; 0 means all."""
    top_p: float = 1.0
    """Sample from the fewest most likely tokens whose probabilities sum to at least this."""
    seed: Annotated[int, Range(least=0, most=2**32 - 1)] = 0
    """Seed of sampling."""
    hosts: Hosts = field(default_factory=Hosts)

    def check(self) -> None:
        """Checks the numbers of the sampling."""
        self._sampling()

    def jobs(self) -> Iterator[Job]:
        """Yields the job that prints the filled text."""
        from pipeline.runs.gaps import encoded_text

        inputs = encoded_text(self.text, self.run)  # refused before JAX is loaded

        from pipeline.runs.filling import filling

        yield filling(self.run, self.text, inputs, self.tokens, self._sampling(), self.seed)

    def _sampling(self) -> Sampling:
        return Sampling(temperature=self.temperature, top_k=self.top_k, top_p=self.top_p)
