"""`mswitch estimate`: pages, core-hours and cost of a `clean` run, from a sample of its input."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pipeline.command import Command
from pipeline.fields import Price, Range, Rules, Texts


@dataclass(frozen=True, kw_only=True)
class Estimate(Command):
    """Estimate pages, core-hours and cost of a `clean` run from a sample of its input."""

    example: ClassVar = "--input 'crawl/*.warc.wet.gz' --rules mc4"

    input: Texts
    """Files or globs, local or on an object store, as for `clean`."""
    rules: Rules
    """Rules of the planned run."""
    crawl_base: str = "https://data.commoncrawl.org"
    """Address that the paths of a *.paths.gz list are relative to."""
    sample_megabytes: Annotated[int, Range(least=1)] = 32
    """Least size of the sample, in files spread over the input."""
    price_per_core_hour: Price = 0.0
    """Price of one core for one hour, in any currency."""

    def work(self) -> None:
        """Cleans a sample, and prints its amounts and those of the whole input."""
        from pipeline.corpus.estimate import estimate

        estimate(
            self.input,
            self.rules,
            self.crawl_base,
            sample_bytes=self.sample_megabytes << 20,
            price=self.price_per_core_hour,
        )
