"""Where a result comes from: versions, hardware, source state and the command. The host's name is hashed."""

from __future__ import annotations

import hashlib
import platform
import socket
import subprocess
from importlib import metadata
from pathlib import Path

import psutil
import torch

from simbench.core.version import __version__
from simbench.results.schema import Provenance

PACKAGES = (
    *("torch", "numpy", "scipy", "scikit-learn", "h5py", "safetensors", "pydantic", "lightning"),
    *("geomloss", "POT", "torch-fidelity"),
)


def cpu_model() -> str:
    """The processor's name, as the operating system gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def hardware() -> dict[str, str]:
    """The machine, in words."""
    found = {
        "cpu": cpu_model(),
        "cores": str(psutil.cpu_count(logical=False) or psutil.cpu_count()),
        "memory_gib": f"{psutil.virtual_memory().total / 2**30:.1f}",
        "system": f"{platform.system()} {platform.machine()}",
    }
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        found[f"cuda:{index}"] = torch.cuda.get_device_name(index)
    return found


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def collect(command: str) -> Provenance:
    """The provenance of this process; the git state is that of the working directory."""
    sha = _git("rev-parse", "HEAD")
    status = _git("status", "--porcelain", "--untracked-files=no") if sha else None
    return Provenance(
        simbench=__version__,
        git_sha=sha,
        git_dirty=None if status is None else bool(status),
        python=platform.python_version(),
        packages={name: version for name in PACKAGES if (version := _version(name))},
        hardware=hardware(),
        host_sha256=hashlib.sha256(socket.gethostname().encode()).hexdigest()[:16],
        flags={
            "tf32": str(torch.backends.cuda.matmul.allow_tf32),
            "deterministic_algorithms": str(torch.are_deterministic_algorithms_enabled()),
            "threads": str(torch.get_num_threads()),
        },
        command=command[:10_000],
    )


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
