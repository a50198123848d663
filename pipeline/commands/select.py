"""`mswitch select`: a corpus of the pages that late rules keep."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pipeline.command import Stage
from pipeline.errors import ArtifactError
from pipeline.fields import (
    BeamOptions,
    Corpus,
    Files,
    In,
    Out,
    Range,
    RobotName,
    Scores,
)
from pipeline.stage import Job

PersonalData = Literal["email", "ip", "phone", "national_number"]


@dataclass(frozen=True, kw_only=True)
class Select(Stage):
    """Write a corpus of the pages that late rules keep: by scores, lists and robots.txt.

    Options after a lone -- go to Beam.
    """

    example: ClassVar = "--corpus corpus --scores scores --out selected"

    corpus: In[Corpus]
    """Directory that `mswitch clean` wrote, local or on an object store."""
    scores: In[Scores]
    """Directory that `mswitch score` wrote for this corpus."""
    out: Out[str]
    """Directory for the new corpus: pages/, rejected/ and manifest.json."""
    quality: str = "corpus"
    """corpus (thresholds from the scores of each language), none, or a directory of FineWeb2's YAML
    files, one per language."""
    languages: bool = True
    """Remove pages that the combined identification calls noise or another language."""
    least_language_share: Annotated[float, Range(least=0, most=1)] = 0.5
    """Least share of a page's characters that must be in its language."""
    benchmarks: bool = True
    """Remove pages that share an n-gram of 13 words with a benchmark."""
    blocked: Files = ()
    """Files of blocked domains and addresses, one per line, plain or .gz."""
    opted_out: Files = ()
    """Files of domains and addresses whose owners opted out, one per line, plain or .gz."""
    robots: Files = ()
    """Files or globs with robots.txt: *.warc.gz of a crawl, or *.jsonl with "host" and "robots"."""
    robot: RobotName = "CCBot"
    """Name of the robot that robots.txt is read for."""
    mask: tuple[PersonalData, ...] = ()
    """Kinds of personal data to mask in the pages that stay."""
    beam: BeamOptions = ()

    def check(self) -> None:
        """Checks that no option would do nothing."""
        if not self.languages and self.least_language_share != Select.least_language_share:
            raise ArtifactError(
                "--least-language-share is of pages that are judged by their language; leave it or "
                "--no-languages out."
            )
        if not self.robots and self.robot != Select.robot:
            raise ArtifactError(
                f"--robot {self.robot} is looked for in robots.txt; name files with --robots, or "
                "leave it out."
            )

    def jobs(self) -> Iterator[Job]:
        """Yields the job on all files of the corpus."""
        from pipeline.curation.select import selecting

        yield selecting(
            self.corpus,
            self.scores,
            self.out,
            quality=self.quality,
            languages=self.languages,
            least_share=self.least_language_share,
            benchmarks=self.benchmarks,
            blocked=self.blocked,
            opted_out=self.opted_out,
            robots=self.robots,
            robot=self.robot,
            masked=self.mask,
            beam=self.beam,
        )
