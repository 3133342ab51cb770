"""The few calls of RabbitMQ's HTTP API that the lab itself needs."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import requests

from bridge.errors import LabError

#: Seconds in which a call must be answered.
_SECONDS = 10.0
#: Seconds in which a vhost must be gone. It is answered when all in it is deleted: 800 000 messages in a classic queue
#: took a busy 3.10.8 more than 10.
_DROP_SECONDS = 300.0


class Api:
    """One node's HTTP API.

    Args:
        url: `http://host:port`, without credentials.
        user: an administrator.
        password: theirs.
    """

    def __init__(self, url: str, user: str, password: str) -> None:
        self._url = url
        self._credentials = (user, password)

    def ready(self, amqp: int, members: int) -> bool:
        """Whether the node takes clients.

        It does when its AMQP port listens, its vhosts are up, and all members of its cluster run.

        Args:
            amqp: the port that the node itself listens on.
            members: nodes that must run.
        """
        try:
            for check in (f"port-listener/{amqp}", "virtual-hosts"):
                if self._call("GET", f"health/checks/{check}").status_code != requests.codes.ok:
                    return False
            nodes = self._call("GET", "nodes?columns=running")
            return nodes.ok and [node["running"] for node in nodes.json()].count(True) >= members
        except (requests.RequestException, KeyError):
            return False  # nobody listens yet, or it listens and is not up

    def version(self) -> str:
        """Return the version that the broker reports, such as 3.10.8."""
        return str(self._must("GET", "overview?columns=rabbitmq_version").json()["rabbitmq_version"])

    def enable_stable_features(self) -> None:
        """Enable every stable feature flag, as operators do before an upgrade."""
        for flag in self._must("GET", "feature-flags").json():
            if flag["state"] == "disabled" and flag["stability"] == "stable":
                self._must("PUT", f"feature-flags/{quote(flag['name'], safe='')}/enable", json={})

    def make_vhost(self, name: str) -> None:
        """Make a vhost in which the user may do everything."""
        vhost = quote(name, safe="")
        self._must("PUT", f"vhosts/{vhost}", json={})
        rights = {"configure": ".*", "write": ".*", "read": ".*"}
        self._must("PUT", f"permissions/{vhost}/{quote(self._credentials[0], safe='')}", json=rights)

    def drop_vhost(self, name: str) -> None:
        """Delete a vhost with everything in it, if it is there."""
        path = f"vhosts/{quote(name, safe='')}"
        self._must("DELETE", path, also=requests.codes.not_found, seconds=_DROP_SECONDS)

    def _must(
        self, method: str, path: str, json: Any = None, also: int = requests.codes.ok, seconds: float | None = None
    ) -> requests.Response:
        try:
            answer = self._call(method, path, json, seconds)
        except requests.RequestException as fault:
            raise LabError(f"broker at {self._url} does not answer {method} /api/{path}: {fault}") from None
        if not answer.ok and answer.status_code != also:
            raise LabError(
                f"broker at {self._url} answered {answer.status_code} to {method} /api/{path}: {answer.text}"
            )
        return answer

    def _call(self, method: str, path: str, json: Any = None, seconds: float | None = None) -> requests.Response:
        url, timeout = f"{self._url}/api/{path}", seconds or _SECONDS
        return requests.request(method, url, json=json, auth=self._credentials, timeout=timeout)
