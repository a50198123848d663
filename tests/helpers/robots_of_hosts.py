"""The robots.txt of some hosts, of several the one that counts, and what they refuse: in memory."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from data.curation.robots import USER_AGENT, Robots, read_robots, refused_by
from data.urls import host_of


@dataclass(frozen=True)
class RobotsOfHosts:
    """The robots.txt of each of some hosts: of several the one that counts (`Robots`).

    Attributes:
        of_host: robots.txt by host; hosts without one are missing.
        user_agent: name of the crawler that asks.
    """

    of_host: Mapping[str, Robots]
    user_agent: str = USER_AGENT

    @classmethod
    def read(
        cls, paths: Iterable[str], hosts: Collection[str], user_agent: str = USER_AGENT
    ) -> "RobotsOfHosts":
        """Returns the robots.txt of these hosts (`read_robots`), of several the one that counts.

        Args:
            paths: files to look for them in.
            hosts: hosts, as `host_of` returns them.
            user_agent: name of the crawler that asks.

        Raises:
            DataError: if a file cannot hold robots.txt files, or does not exist.
        """
        found: dict[str, Robots] = {}
        for path in paths:
            for robots in read_robots(path):
                if robots.host in hosts:
                    found[robots.host] = max(robots, found.get(robots.host, robots))
        return cls(found, user_agent)

    def reasons_of(self, urls: Sequence[str]) -> list[str | None]:
        """Returns "robots_txt" for each address that its host refuses, None for the others."""
        by_host: dict[str, list[str]] = defaultdict(list)
        for url in urls:
            by_host[host_of(url)].append(url)
        reasons = {
            host: iter(refused_by(self.of_host.get(host), some, self.user_agent))
            for host, some in by_host.items()
        }
        return [next(reasons[host_of(url)]) for url in urls]
