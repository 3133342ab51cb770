"""Broker nodes in Docker containers, started by testcontainers.

1. testcontainers' reaper would remove the containers when the process that started them ends; a lab outlives it, and
   has a guard of its own where it must not. So the reaper is off, and everything carries the lab's mark as a label.
2. Host ports are chosen by us: those that Docker gives change when a container is started again.
"""

from __future__ import annotations

import os
import socket
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from bridge.errors import LabError
from bridge.lab import settings
from bridge.lab.cluster import AMQP_PORT, Ended
from bridge.lab.releases import release
from bridge.lab.roots import LAST_LINES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from docker import DockerClient
    from docker.models.containers import Container

    from bridge.lab.state import ClusterState, LabState, NodeState, Store
    from bridge.progress import Progress

_SOCKET = "unix:///var/run/docker.sock"
_LABEL = "bridge.lab"
_API_PORT = 15672
_STREAM_PORT = 5552
_FILES = "/etc/rabbitmq"
_STOP_SECONDS = 60
_ANSWER_SECONDS = 10


def answers() -> bool:
    """Whether a Docker engine answers that this user may use."""
    try:
        client = _client()
    except LabError:
        return False
    client.close()
    return True


class Containers:
    """Runs a lab's nodes as containers on a network of their own.

    Args:
        store: the lab's folder and state.
        mark: of the lab.
    """

    def __init__(self, store: Store, mark: str) -> None:
        self._store = store
        self._mark = mark

    @cached_property
    def _client(self) -> DockerClient:
        return _client()

    def prepare(self, progress: Progress) -> None:
        """Fetch the images that are missing and make the lab's network.

        Raises:
            LabError: an image cannot be fetched.
        """
        from docker.errors import APIError, ImageNotFound

        def fetch(version: str) -> None:
            image = _image(version)
            try:
                self._client.images.get(image)
            except ImageNotFound:
                progress(f"RabbitMQ {version}", f"fetching the image {image}")
                self._client.images.pull(image)

        state = self._store.get()
        try:
            with ThreadPoolExecutor() as pool:
                list(pool.map(fetch, {cluster.version for cluster in state.clusters.values()}))
            self._client.networks.create(self._network(), labels={_LABEL: self._mark})
        except APIError as fault:
            raise LabError(f"Docker refused: {fault.explanation or fault}") from None

    def start(self, name: str) -> None:
        """Start the node's container, making it the first time; its broker is not up yet when this returns."""
        state = self._store.get()
        cluster, node = state.node(name)
        if node.container is not None:
            self._container(name).start()
            return
        container, host = self._made(state, cluster, node)
        try:
            with self._store.change(self._mark) as state:
                kept = state.node(name)[1]
                kept.container, kept.host = str(container.id), host
        except LabError:
            container.remove(force=True, v=True)  # the lab was taken down while the container was made
            raise

    def stop(self, name: str) -> None:
        """Stop the broker as an operator does, messages written out."""
        self._container(name).stop(timeout=_STOP_SECONDS)

    def kill(self, name: str) -> None:
        """End the broker at once, as a power cut does."""
        if self.running(name):
            container = self._container(name)
            container.kill()
            container.wait(timeout=_STOP_SECONDS)

    def running(self, name: str) -> bool:
        """Whether the node's container runs."""
        from docker.errors import NotFound

        if self._store.get().node(name)[1].container is None:
            return False
        try:
            return bool(self._container(name).status == "running")
        except NotFound:
            return False

    def ctl(self, name: str, arguments: Sequence[str]) -> Ended:
        """Run `rabbitmqctl` against the node."""
        command = ["rabbitmqctl", "--erlang-cookie", self._store.get().cookie, *arguments]
        code, (printed, complaints) = self._container(name).exec_run(command, demux=True)
        return Ended(code, (printed or b"").decode(errors="replace"), (complaints or b"").decode(errors="replace"))

    def last_lines(self, name: str) -> str:
        """Return the end of what the node printed."""
        return cast("bytes", self._container(name).logs(tail=LAST_LINES)).decode(errors="replace")

    def remove(self) -> None:
        """Remove every container and network that carries the lab's mark."""
        mine = {"label": f"{_LABEL}={self._mark}"}
        for container in self._client.containers.list(all=True, filters=mine):
            container.remove(force=True, v=True)
        for network in self._client.networks.list(filters=mine):
            network.remove()
        self._client.close()
        del self._client

    def _made(self, state: LabState, cluster: ClusterState, node: NodeState) -> tuple[Container, str]:
        """Make and start the node's container; return it and the host that its ports are reached at."""
        from docker.errors import APIError
        from testcontainers.core.config import testcontainers_config
        from testcontainers.core.container import DockerContainer

        testcontainers_config.ryuk_disabled = True
        hostname = node.name.partition("@")[2]
        network = self._network()
        joined = {network: self._client.api.create_endpoint_config(aliases=[hostname])}
        listeners = [
            f"listeners.tcp.1 = 0.0.0.0:{AMQP_PORT}",
            f"management.tcp.port = {_API_PORT}",
            f"stream.listeners.tcp.1 = 0.0.0.0:{_STREAM_PORT}",
        ]
        peers = [peer.name for peer in cluster.nodes] if len(cluster.nodes) > 1 else []
        container = (
            DockerContainer(release(cluster.version).image)  # adds the same prefix as `_image`
            .with_name(f"bridge-lab-{state.name}-{self._mark}-{hostname}")
            .with_envs(
                RABBITMQ_NODENAME=node.name,
                RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=f"-setcookie {state.cookie}",
                RABBITMQ_SCHEDULER_BUSY_WAIT_THRESHOLD=settings.BUSY_WAIT,
            )
            .with_kwargs(hostname=hostname, labels={_LABEL: self._mark}, network=network, networking_config=joined)
        )
        files = {
            f"{_FILES}/conf.d/90-lab.conf": settings.configuration(listeners, peers, f"{_FILES}/definitions.json"),
            f"{_FILES}/definitions.json": settings.definitions(state.user, state.password, cluster.vhosts),
            f"{_FILES}/enabled_plugins": settings.enabled_plugins(),
        }
        for path, text in files.items():
            container.with_copy_into_container(text.encode(), path)
        # An engine on this machine need not show the lab to the network; one elsewhere must.
        local = container.get_docker_client().host() in ("localhost", "127.0.0.1")
        published = cast("dict[str, Any]", container.ports)
        for inside, outside in ((AMQP_PORT, node.amqp), (_API_PORT, node.api), (_STREAM_PORT, node.stream)):
            published[f"{inside}/tcp"] = ("127.0.0.1", outside) if local else outside
        try:
            container.start()
            host = container.get_container_host_ip()
        except APIError as fault:
            raise LabError(f"Docker did not start {node.name}: {fault.explanation or fault}") from None
        finally:
            container.get_docker_client().client.close()
        return container.get_wrapped_container(), "127.0.0.1" if local else host

    def _container(self, name: str) -> Container:
        identity = self._store.get().node(name)[1].container
        if identity is None:
            raise LabError(f"{name} was never started")
        return self._client.containers.get(identity)

    def _network(self) -> str:
        return f"bridge-lab-{self._mark}"


def _image(version: str) -> str:
    """Return the image's name, with the registry prefix that testcontainers is configured to use."""
    from testcontainers.core.config import testcontainers_config

    return f"{testcontainers_config.hub_image_name_prefix}{release(version).image}"


def _somebody_listens(host: str) -> bool:
    """Whether the engine's Unix socket takes connections; of an engine elsewhere only its own answer tells."""
    scheme, _, path = host.rpartition("://")
    if scheme != "unix":
        return True
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except OSError:
            return False
        return True


def _client() -> DockerClient:
    """Return a client of the Docker engine that the environment names.

    Raises:
        LabError: none answers.
    """
    # Asked before the client is: docker-py leaves its socket open when nobody listens, which Python then warns of.
    if not _somebody_listens(os.environ.get("DOCKER_HOST") or _SOCKET):
        raise LabError("no Docker engine listens")
    try:
        import docker
        from docker.errors import DockerException
    except ImportError:
        raise LabError(
            "no Docker: the Python package `docker` is missing", hint="install celery-quorum-bridge[lab]"
        ) from None
    try:
        client = docker.from_env(timeout=_ANSWER_SECONDS)
    except DockerException as fault:
        raise LabError(f"no Docker engine answers: {fault}") from None
    try:
        client.ping()
    except DockerException as fault:
        client.close()
        raise LabError(f"no Docker engine answers: {fault}") from None
    return client
