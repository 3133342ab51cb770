"""What the image is, and what it does as a container with nothing but what it needs."""

from __future__ import annotations

import shlex
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from bridge.admin_client import fetch_status
from bridge.errors import Unreachable
from bridge.lab.deadline import until
from bridge.lab.rehearsal import Plan, Rehearsal
from bridge.progress import silent
from tests.image.base import bytes_in
from tests.image.build import Image, pip_settings
from tests.image.container import Container
from tests.support.brokers import Vhosts
from tests.support.daemon import takeover
from tests.support.peers import Peer

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]
one_world = pytest.mark.parametrize("world", ["3.10->4.3"], indirect=True)

#: Bytes that the image may have more than its base.
LARGEST = 90 * 1000 * 1000


def test_the_settings_of_pip_become_a_file(tmp_path: Path) -> None:
    (tmp_path / "index/simple").mkdir(parents=True)
    (tmp_path / "ca.pem").touch()
    index, ca = f"file://{tmp_path}/index/simple", f"{tmp_path}/ca.pem"
    listed = (
        f":env:.default-timeout='18'\nglobal.extra-index-url='{index} file:///nowhere/simple'\nglobal.cert='{ca}'\n"
    )
    settings, volumes = pip_settings(listed)
    assert settings == (
        f"[global]\ndefault-timeout = 18\nextra-index-url = {index} file:///nowhere/simple\ncert = {ca}\n"
    )
    assert volumes == [ca, f"{tmp_path}/index"]


def test_it_is_small_and_holds_no_tools(image: Image, base: Path) -> None:
    more = bytes_in(image.root) - bytes_in(base)
    print(f"image: {more / 1e6:.1f} MB more than its base")
    assert more < LARGEST
    assert {path.name for path in (image.root / "opt/bridge/bin").iterdir() if not path.is_symlink()} == {"bridge"}
    packages = {path.name for path in next((image.root / "opt/bridge/lib").glob("python3*/site-packages")).iterdir()}
    assert not packages & {"pip", "setuptools", "hatchling", "celery", "pytest", "testcontainers"}
    assert not (image.root / "tools").exists()
    assert not (image.root / "src").exists()
    assert not (image.root / "etc/pip.conf").exists()


def test_it_says_how_it_wants_to_be_run(image: Image) -> None:
    config = image.config
    assert config["User"] == "10001:10001"
    assert (config["Entrypoint"], config["Cmd"]) == (["/opt/bridge/bin/bridge"], ["run"])
    assert config["Healthcheck"]["Test"] == ["CMD", "/opt/bridge/bin/bridge", "health"]
    assert config["Labels"]["org.opencontainers.image.licenses"] == "MIT"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that the container's user reads, and for whom the admin socket is there as well."""
    made = tmp_path / "shared"
    made.mkdir()
    made.chmod(0o777)
    return made


@pytest.fixture
def container(image: Image, vhosts: Vhosts, folder: Path) -> Iterator[Container]:
    """The bridge beside two brokers, one queue each."""
    with Peer(vhosts.old.amqp) as old, Peer(vhosts.new.amqp) as new:
        old.classic("q1")
        new.quorum("q1")
    file = folder / "bridge.yaml"
    config = takeover(vhosts, folder)
    del config["admin"], config["export"]  # where the image has them
    file.write_text(yaml.safe_dump(config))
    made = Container(image, folder, config=file)
    made.start()
    yield made
    made.remove()


def healthy(container: Container) -> bool:
    return until(lambda: container.health.returncode == 0, 60)


@one_world
def test_it_runs_without_rights_on_a_root_that_it_cannot_write(container: Container) -> None:
    assert healthy(container), container.log
    assert container.run("bridge", "health", "--ready").returncode == 0
    assert "q1" in container.run("bridge", "status").stdout

    told = container.run("cat", "/proc/1/status").stdout
    fields = dict(line.split(":\t", 1) for line in told.splitlines())
    assert fields["Uid"].split() == ["10001"] * 4
    assert (fields["CapEff"], fields["NoNewPrivs"]) == ("0" * 16, "1")
    for place in ("/opt/bridge/x", "/etc/bridge/x", "/x"):
        assert "Read-only file system" in container.run("touch", place).stderr
    assert container.run("touch", "/var/lib/bridge/x").returncode == 0
    # Who changed what is told by number: the container has no name for its user.
    assert container.run("bridge", "pause", "q1").stdout.startswith("q1: done ")
    assert "uid 10001@container" in container.run("bridge", "changes").stdout


@one_world
def test_a_stop_ends_it_at_once(image: Image, container: Container) -> None:
    assert healthy(container), container.log
    asked = time.monotonic()
    container.signal(signal.Signals[image.config["StopSignal"]])
    assert container.ended(20) == 0
    assert time.monotonic() - asked < 5
    assert "stopped" in container.log


def test_without_a_configuration_it_says_so_and_ends(image: Image, tmp_path: Path) -> None:
    container = Container(image, tmp_path, ["-c", "/etc/bridge/another.yaml", "run"])
    container.start()
    try:
        assert container.ended(60) == 2
        assert container.log.startswith("error: /etc/bridge/another.yaml: no such file or directory")
        assert "Traceback" not in container.log
    finally:
        container.remove()


@one_world
def test_a_whole_migration_is_rehearsed_with_the_image(image: Image, vhosts: Vhosts, folder: Path) -> None:
    sides = vhosts.env()
    source, target = ({key: side[key] for key in ("amqp", "api", "version")} for side in (sides["old"], sides["new"]))
    container = Container(image, folder, ["-c", f"{folder}/bridge.yaml", "run"], shared=[folder])
    # What the rehearsal adds are the words that the container has already.
    give = f"chown {container.user} {{folder}}/bridge.yaml && exec {shlex.join(container.command)}"
    plan = Plan(tasks=1500, eta_window=10.0, seconds=3.0)
    rehearsal = Rehearsal(source, target, plan, folder, silent, ["sh", "-c", give])
    try:
        report = rehearsal.run()
    finally:
        rehearsal.end()
        container.remove()
    assert report.faults == {}
    assert (report.lost, report.executed_twice, report.early, report.changed) == (0, 0, 0, 0)
    assert report.books.moved >= report.started_new > 0
    print(report.as_json())
    with pytest.raises(Unreachable):
        fetch_status(f"{folder}/admin.sock")
