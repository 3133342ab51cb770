from __future__ import annotations

from pathlib import Path

import pytest

from bridge.config import load
from bridge.errors import LabError
from bridge.lab.crew import Crew
from bridge.lab.subject import Sample, Subject, speed

OLD = {"amqp": "amqp://bridge:secret@127.0.0.1:5001/chost", "api": "http://bridge:secret@127.0.0.1:15001"}
NEW = {"amqp": "amqp://bridge:secret@127.0.0.1:5002/qhost", "api": "http://bridge:secret@127.0.0.1:15002"}


def samples(*moved: int) -> list[Sample]:
    return [Sample(at=float(second), moved=count, converted=0, cpu=0.0) for second, count in enumerate(moved)]


def test_the_configuration_has_no_faults_and_nobody_else_reads_it(tmp_path: Path) -> None:
    Subject(tmp_path, OLD, NEW, ["q1", "a.q1"])
    file = tmp_path / "bridge.yaml"
    config = load(str(file), {})
    assert config.route == "legacy"
    assert config.admin.socket == str(tmp_path / "admin.sock")
    assert file.stat().st_mode & 0o777 == 0o600


def test_nothing_runs_before_start(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="the daemon was not started"):
        Subject(tmp_path, OLD, NEW, ["q1"]).cut_over()


def test_another_command_is_the_daemon_and_has_no_service_manager(tmp_path: Path) -> None:
    told = tmp_path / "told"
    script = 'echo "$@" "${NOTIFY_SOCKET:-none}" > ' + str(told) + "; exec sleep 60"
    subject = Subject(tmp_path, OLD, NEW, ["q1"], ["sh", "-c", script, "sh", "-v", "{folder}:/x"])
    crew = Crew(tmp_path)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("bridge.lab.subject.READY_WITHIN", 0.5)
            with pytest.raises(LabError, match="the daemon was not ready within"):
                subject.start(crew)
    finally:
        crew.end()
    assert told.read_text() == f"-v {tmp_path}:/x -c {tmp_path}/bridge.yaml run none\n"
    assert subject.end() == []


def test_speed_is_taken_from_the_middle_of_the_move() -> None:
    assert speed(samples(100, 100, 150, 600, 1060, 1100, 1101), before=100, waiting=1000) == pytest.approx(455.0)


@pytest.mark.parametrize("moved", [(0, 0), (0, 500, 900), (0, 1000), ()])
def test_speed_needs_two_samples_in_the_move(moved: tuple[int, ...]) -> None:
    assert speed(samples(*moved), before=0, waiting=1000) is None
