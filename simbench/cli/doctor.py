"""`simbench doctor`: what this installation has, what it lacks, and how to mend that."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import torch

from simbench.core.errors import SimbenchError
from simbench.core.plugins import entry_points
from simbench.core.text import thread_count
from simbench.core.version import __version__
from simbench.generators.contract import Check
from simbench.generators.resolve import GROUP, find
from simbench.tasks import DEFAULT, get_task, task_names, zn

PACKAGES = ("torch", "numpy", "scipy", "h5py", "pydantic", "geomloss", "POT", "torch-fidelity")
ENOUGH_DISK = 2 * 2**30


def diagnose(data_dir: Path | None = None, out: Path = Path("runs")) -> Iterator[Check]:
    """Look at everything a run needs; nothing is downloaded or left behind."""
    yield _versions()
    yield _devices()
    for name in task_names():
        yield _task(name, data_dir)
    yield from _extractors()
    for name in sorted(entry_points(GROUP)):
        yield _generator(name)
    yield from _disk(out)


def _generator(name: str) -> Check:
    try:
        find(name)
    except SimbenchError as error:
        return Check.of(f"generator {name}", error)
    return Check(f"generator {name}", "ok", "It can be loaded.")


def _versions() -> Check:
    found, missing = [f"simbench {__version__}", f"Python {platform.python_version()}"], []
    for package in PACKAGES:
        try:
            found.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            missing.append(package)
    if missing:
        return Check("versions", "fail", f"Missing: {', '.join(missing)}.", "Run pip install simbench again.")
    return Check("versions", "ok", ", ".join(found) + f" on {sys.platform}.")


def _devices() -> Check:
    cpu = f"cpu with {thread_count(torch.get_num_threads())} of {os.cpu_count()}"
    if not torch.cuda.is_available():
        return Check("devices", "ok", f"{cpu}; no GPU that torch can use.")
    names = [f"cuda:{index} {torch.cuda.get_device_name(index)}" for index in range(torch.cuda.device_count())]
    return Check("devices", "ok", "; ".join([cpu, *names]) + ".")


def _task(name: str, data_dir: Path | None) -> Check:
    """Whether a task's data are there: an error where simbench ships them, else a warning. Nothing is downloaded."""
    title = f"data of {name}"
    try:
        return Check(title, "ok", get_task(name, data_dir).find_data())
    except SimbenchError as error:
        shipped = name == DEFAULT and zn.data_file().is_file()
        return Check.of(title, error, "fail" if shipped else "warn")


def _extractors() -> Iterator[Check]:
    from simbench.features.extractors import read_weights, weights_file

    for name in task_names():
        try:
            variant = get_task(name).lenet
        except SimbenchError:  # said with its data
            continue
        if variant is None:
            continue
        try:
            read_weights(weights_file(variant), variant.sha256)
        except SimbenchError as error:
            yield Check.of(f"LeNet of {name}", error)
        else:
            yield Check(f"LeNet of {name}", "ok", f"sha256 {variant.sha256[:12]}… verified.")


def _disk(out: Path) -> Iterator[Check]:
    folder = out.absolute()
    while not folder.exists():
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
        yield Check("output", "ok", f"{out} can be written.")
    except OSError as error:
        yield Check(
            "output", "fail", f"{out} cannot be written: {error.strerror}.", "Choose another folder with --out."
        )
    free = shutil.disk_usage(folder).free
    status = Check("disk", "ok", f"{free / 2**30:.1f} GiB free.")
    yield (
        status
        if free > ENOUGH_DISK
        else Check("disk", "warn", f"Only {free / 2**30:.1f} GiB free.", "Make room before a long run.")
    )
