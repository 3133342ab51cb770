"""Celery of other releases than ours, each in a virtual environment of its own that is made once and kept.

python = python_with("4.4.7")
subprocess.Popen([python, "-m", "celery", "-A", "plain_celery", "worker"], ...)
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

#: Release to what is installed for it. 4.4.7 was made for Python up to 3.8.
RELEASES = {
    "4.4.7": ("celery==4.4.7", "kombu==4.6.11", "vine==1.3.0", "importlib-metadata<5", "setuptools<70", "PyYAML<7"),
    "5.2.7": ("celery==5.2.7", "kombu==5.2.4", "setuptools<70", "PyYAML<7"),
    "5.4.0": ("celery==5.4.0", "kombu==5.4.2", "PyYAML<7"),
}
#: Two functions that vine 1.3 takes from the standard library and Python 3.11 does not have any more.
_FOR_OLD_ONES = """\
import collections
import inspect

if not hasattr(inspect, "getargspec"):
    _ArgSpec = collections.namedtuple("ArgSpec", "args varargs keywords defaults")
    inspect.getargspec = lambda function: _ArgSpec(*inspect.getfullargspec(function)[:4])

if not hasattr(inspect, "formatargspec"):

    def _formatargspec(args, varargs=None, varkw=None, defaults=None, kwonlyargs=(), kwonlydefaults=None,
                       annotations=None, formatvalue=lambda value: "=" + repr(value), **_others):
        first, known = len(args) - len(defaults or ()), kwonlydefaults or {}
        parts = [arg if at < first else arg + formatvalue(defaults[at - first]) for at, arg in enumerate(args)]
        parts += ["*" + varargs] if varargs else ["*"] if kwonlyargs else []
        parts += [arg + formatvalue(known[arg]) if arg in known else arg for arg in kwonlyargs]
        parts += ["**" + varkw] if varkw else []
        return "(" + ", ".join(parts) + ")"

    inspect.formatargspec = _formatargspec
"""
#: Seconds for making one.
_MADE_WITHIN = 300


def python_with(release: str) -> str:
    """Path of a Python that has this release of Celery.

    Raises:
        AssertionError: it could not be made, with pip's last words.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute()
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    folder = base / "celery-quorum-bridge" / "celery" / f"{release}-py{version}"
    python = folder / "bin" / "python"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = folder / "done"
        if not done.exists():
            _run([sys.executable, "-m", "venv", str(folder)])
            _run([str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", *RELEASES[release]])
            if release.startswith("4."):
                (folder / "lib" / f"python{version}" / "site-packages" / "sitecustomize.py").write_text(_FOR_OLD_ONES)
            done.touch()
    return str(python)


def _run(command: list[str]) -> None:
    ended = subprocess.run(command, capture_output=True, text=True, timeout=_MADE_WITHIN, check=False)
    if ended.returncode:
        raise AssertionError(f"{' '.join(command)} ended with {ended.returncode}:\n{ended.stderr[-2000:]}")
