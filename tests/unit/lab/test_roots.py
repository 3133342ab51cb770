"""Roots are made whole, once, side by side; what makes them is played by a script."""

from __future__ import annotations

import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bridge.errors import LabError
from bridge.lab import roots
from bridge.lab.deadline import until
from bridge.lab.process import MARK
from bridge.progress import silent

#: Plays `unshare ... debootstrap ... SUITE TARGET MIRROR SCRIPT` (and `unshare ... true`).
UNSHARE = """#!/bin/sh
case "$*" in *" true") exit "${NO_NAMESPACES:-0}" ;; esac
echo "$*" >> "$RECORD"
while [ $# -gt 4 ]; do shift; done
suite=$1 target=$2
echo "I: Retrieving base-files"
echo "I: Unpacking base-files"
[ -z "$FAILS" ] || { echo "E: $FAILS"; exit 1; }
case $suite in bookworm) version=3.10.8 ;; trixie) version=4.0.5 ;; *) version=${FORKY:-4.3.6} ;; esac
mkdir -p "$target/usr/lib/rabbitmq/lib/rabbitmq_server-$version" "$target/etc" "$target/var/cache/apt/archives"
mkdir -p "$target/usr/share/doc/a" "$target/usr/bin"
echo x > "$target/var/cache/apt/archives/a.deb"; echo x > "$target/usr/share/doc/a/b"; echo x > "$target/usr/bin/sh"
[ -z "$HOLD" ] || exec sleep 60
"""


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with programs of our own, on which debootstrap knows two suites and its keyring is there."""
    programs, scripts = tmp_path / "bin", tmp_path / "scripts"
    for folder in (programs, scripts):
        folder.mkdir()
    for name, text in {"unshare": UNSHARE, "debootstrap": "#!/bin/sh\n", "apt-get": "#!/bin/sh\n"}.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    for suite in ("sid", "bookworm", "trixie"):
        (scripts / suite).touch()
    (tmp_path / "keyring").touch()
    monkeypatch.setattr(roots, "_SCRIPTS", scripts)
    monkeypatch.setattr(roots, "_KEYRING", tmp_path / "keyring")
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("RECORD", str(tmp_path / "record"))
    monkeypatch.setenv("BRIDGE_LAB_ROOTS", str(tmp_path / "roots"))
    monkeypatch.delenv("BRIDGE_LAB_MIRROR", raising=False)
    return tmp_path


def record(machine: Path) -> list[str]:
    file = machine / "record"
    return file.read_text().splitlines() if file.exists() else []


def test_roots_are_made_trimmed_and_kept(machine: Path):
    told: list[tuple[str, str]] = []
    made = roots.install(["3.10", "4.3", "3.10"], "m", lambda subject, step: told.append((subject, step)))

    assert made == {"3.10": machine / "roots" / "bookworm", "4.3": machine / "roots" / "forky"}
    for root in made.values():
        assert (root / "usr/bin/sh").exists()
        assert (root / "etc/hosts").read_text() == "127.0.0.1 localhost\n"
        assert list((root / "var/cache/apt").iterdir()) == []
        assert list((root / "usr/share/doc").iterdir()) == []
    assert ("RabbitMQ 4.3", "unpacking packages of Debian forky") in told
    assert ("RabbitMQ 3.10", "installed") in told

    roots.install(["3.10", "4.3"], "m", silent)
    assert len(record(machine)) == 2, "made once"


def test_debootstrap_is_called_apart_with_a_script_that_it_has(machine: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("BRIDGE_LAB_MIRROR", "http://mirror/debian")
    roots.install(["4.0"], "m", silent)
    roots.install(["4.3"], "m", silent)
    for line, suite, script in zip(record(machine), ("trixie", "forky"), ("trixie", "sid"), strict=True):
        assert line.startswith("--mount --pid --fork --kill-child --propagation private --mount-proc debootstrap ")
        assert f" --variant=minbase --include=rabbitmq-server --keyring={machine / 'keyring'} {suite} " in line
        assert line.endswith(f" http://mirror/debian {machine / 'scripts' / script}")


def test_a_failure_shows_the_last_lines_and_leaves_nothing(machine: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FAILS", "no route to mirror")
    with pytest.raises(LabError, match=r"installing RabbitMQ 4\.3 from Debian forky failed(.|\n)*E: no route") as fault:
        roots.install(["4.3"], "m", silent)
    assert "BRIDGE_LAB_MIRROR" in fault.value.hint
    assert [entry for entry in (machine / "roots").iterdir() if entry.is_dir()] == []


def test_a_suite_that_has_moved_on_is_no_root(machine: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FORKY", "4.4.0")
    with pytest.raises(LabError, match=r"Debian forky has RabbitMQ 4\.4\.0, the lab wants 4\.3"):
        roots.install(["4.3"], "m", silent)
    assert not (machine / "roots" / "forky").exists()


def test_what_an_interrupted_installation_left_is_removed(machine: Path):
    left = machine / "roots" / ".forky-left"
    left.mkdir(parents=True)
    roots.install(["4.3"], "m", silent)
    assert not left.exists()


def test_labs_that_install_at_once_make_one_root(machine: Path):
    with ThreadPoolExecutor() as pool:
        both = [pool.submit(roots.install, ["4.3"], "m", silent) for _ in range(2)]
        assert {done.result()["4.3"] for done in both} == {machine / "roots" / "forky"}
    assert len(record(machine)) == 1


def test_who_waits_for_another_lab_says_so(machine: Path):
    (machine / "roots").mkdir()
    waiting = threading.Event()

    def told(_subject: str, step: str) -> None:
        if step == "another lab installs it, waiting":
            waiting.set()

    with (
        ThreadPoolExecutor() as pool,
        roots._locked(machine / "roots" / ".forky.lock", lambda: None),
    ):
        done = pool.submit(roots.install, ["4.3"], "m", told)
        assert waiting.wait(20)
        assert record(machine) == []
        (machine / "roots" / "forky").mkdir()
    assert done.result() == {"4.3": machine / "roots" / "forky"}
    assert record(machine) == [], "the other one made it"


def test_one_that_fails_ends_the_other(machine: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOLD", "1")
    mark = os.urandom(8).hex()

    def interrupted(subject: str, step: str) -> None:
        if subject == "RabbitMQ 4.3" and step.startswith("unpacking"):
            assert until(lambda: len(record(machine)) == 2, 20)
            raise LabError("interrupted")

    with pytest.raises(LabError, match="interrupted"):
        roots.install(["3.10", "4.3"], mark, interrupted)
    assert roots.marked(mark) == []


@pytest.mark.parametrize("missing", ["debootstrap", "debian-archive-keyring"])
def test_what_is_missing_is_installed_first(machine: Path, monkeypatch: pytest.MonkeyPatch, missing: str):
    ran: list[list[str]] = []
    monkeypatch.setattr(roots, "_run", lambda command, *_rest: ran.append(command))
    which = shutil.which
    monkeypatch.setattr(roots.shutil, "which", lambda name: None if name == missing else which(name))
    if missing != "debootstrap":
        (machine / "keyring").unlink()
    (machine / "roots").mkdir()
    roots._ensure_debootstrap(machine / "roots", "m", silent)
    assert ran == [["apt-get", "update"], ["apt-get", "install", "--yes", "--no-install-recommends", missing]]


def test_what_runs_carries_the_mark(machine: Path):
    lines: list[str] = []
    roots._run(["sh", "-c", f"echo ${MARK}"], "testing", "f00d", lambda line: lines.append(line.strip()))
    assert lines == ["f00d"]


def test_possible(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    roots.check_possible()


def test_not_root(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(LabError, match="needs root") as fault:
        roots.check_possible()
    assert "sudo" in fault.value.hint


def test_not_debian(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(roots.shutil, "which", lambda _name: None)
    with pytest.raises(LabError, match="neither Debian nor Ubuntu"):
        roots.check_possible()


def test_a_root_that_may_not_make_namespaces(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("NO_NAMESPACES", "1")
    with pytest.raises(LabError, match="may not make namespaces"):
        roots.check_possible()


def test_roots_live_in_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.delenv("BRIDGE_LAB_ROOTS")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert roots.roots_folder() == tmp_path / "celery-quorum-bridge" / "roots"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert roots.roots_folder() == tmp_path / ".cache" / "celery-quorum-bridge" / "roots"
