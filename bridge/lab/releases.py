"""The RabbitMQ releases that the lab can run, and where each comes from."""

from __future__ import annotations

from dataclasses import dataclass

from bridge.errors import LabError


@dataclass(frozen=True)
class Release:
    """One RabbitMQ release series.

    Attributes:
        version: the series, as an operator names it.
        suite: the Debian suite whose package is of this series.
        image: the Docker image of this series, management plugin included.
    """

    version: str
    suite: str
    image: str


RELEASES = {
    release.version: release
    for release in (
        Release("3.10", suite="bookworm", image="rabbitmq:3.10-management"),
        Release("4.0", suite="trixie", image="rabbitmq:4.0-management"),
        Release("4.3", suite="forky", image="rabbitmq:4.3-management"),
    )
}


def release(version: str) -> Release:
    """Return the release of that series.

    Raises:
        LabError: the lab has no such series.
    """
    try:
        return RELEASES[version]
    except KeyError:
        raise LabError(f"no RabbitMQ {version} in the lab; it has {', '.join(RELEASES)}") from None
