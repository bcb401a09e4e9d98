"""The examinations of `naruto-add doctor`.

What they tell is fit for a public bug report: no paths, addresses, keys or values of the environment; of errors only
their kind.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import naruto_add
from naruto_add.errors import UserError
from naruto_add.storage import s3
from naruto_add.storage.mirror import FIRST_PATIENCE

PACKAGES = ("torch", "ray", "diffusers", "transformers", "deepspeed")
PYTHONS = ((3, 11), (3, 13))
"""The oldest and the newest that we support."""
GIB = 2**30
FEWEST_GIB = {"memory": 4, "disk": 2}
"""Below these not even recipe smoke runs."""
GIT_SECONDS = 5
MEMORY_LIMIT = Path("/sys/fs/cgroup/memory.max")
NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    name: str
    value: str
    problem: str | None = None
    """What stands in the way, and what to do."""


def versions() -> list[Finding]:
    """Of Python, of the libraries that decide results, and ours with its commit."""
    return [our_version(), python_version(), *map(package_version, PACKAGES)]


def our_version() -> Finding:
    """Ours, and the commit that it was installed from, if it was."""
    commit = git_commit(Path(naruto_add.__file__).parent)
    return Finding("naruto-add", naruto_add.__version__ + (f" ({commit})" if commit else ""))


def git_commit(folder: Path) -> str | None:
    """The short commit of the repository that tracks the folder, `+` where files have changed; None without one."""
    if not git(folder, "ls-files", "--", "."):
        return None
    changed = git(folder, "status", "--porcelain", "--untracked-files=no")
    commit = git(folder, "rev-parse", "--short=12", "HEAD")
    return f"{commit}+" if commit and changed else commit


def git(folder: Path, *words: str) -> str | None:
    """What git answers; None where there is no git or no repository."""
    command = ["git", "-C", str(folder), *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=GIT_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def python_version(version: Sequence[int] = tuple(sys.version_info[:3])) -> Finding:
    """The interpreter's, and the system it runs on."""
    found = f"{'.'.join(map(str, version[:3]))}, {platform.system()} {platform.machine()}"
    if PYTHONS[0] <= tuple(version[:2]) <= PYTHONS[1]:
        return Finding("python", found)
    return Finding("python", found, "This Python is not supported: install 3.11 to 3.13, then run make install.")


def package_version(name: str) -> Finding:
    """An installed package's, from its metadata alone."""
    try:
        return Finding(name, metadata.version(name))
    except metadata.PackageNotFoundError:
        return Finding(name, "not installed", f"The package {name} is missing: run make install.")


def machine(place: Path) -> list[Finding]:
    """Cores, memory, the disk of `place`, and what multiplies matrices."""
    memory, disk = memory_bytes() / GIB, shutil.disk_usage(place)
    return [
        Finding("cores", str(os.cpu_count() or 1)),
        Finding("memory", f"{memory:.1f} GiB", scarce("memory", memory, "choose a larger machine")),
        Finding(
            "disk of --run",
            f"{disk.free / GIB:.1f} GiB free of {disk.total / GIB:.1f}",
            scarce("disk", disk.free / GIB, "free some space or choose another --run"),
        ),
        accelerator(),
    ]


def memory_bytes() -> int:
    """The memory of this machine, or what the container may take of it."""
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = MEMORY_LIMIT.read_text(encoding="ascii").strip() if MEMORY_LIMIT.is_file() else ""
    return min(whole, int(limit)) if limit.isdigit() else whole


def scarce(what: str, gib: float, action: str) -> str | None:
    """The complaint, if there is too little."""
    fewest = FEWEST_GIB[what]
    return None if gib >= fewest else f"Too little {what} ({gib:.1f} GiB, at least {fewest}): {action}."


def accelerator() -> Finding:
    """CUDA devices with their memory, or what the processor has."""
    try:
        import torch
    except (ImportError, OSError) as error:
        problem = f"torch is broken or missing ({type(error).__name__}): run make install."
        return Finding("accelerator", "unknown", problem)
    if torch.cuda.is_available():
        devices = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
        return Finding("accelerator", ", ".join(f"{d.name} {d.total_memory / GIB:.0f} GiB" for d in devices))
    has_amx = torch.cpu._is_amx_tile_supported()
    found = f"none; processor {'with AMX: bf16' if has_amx else 'without AMX: fp32'}"
    if NVIDIA_DRIVER.is_file():
        return Finding("accelerator", found, "There is an NVIDIA driver, but torch sees no GPU: install a CUDA torch.")
    return Finding("accelerator", found)


def storage(run: str, s3_endpoint: str | None) -> Finding:
    """A small file written, read back and deleted where the run would be."""
    content = os.urandom(1024)
    try:
        same = (s3_round_trip if run.startswith(s3.SCHEME) else disk_round_trip)(run, content, s3_endpoint) == content
    except UserError as error:
        return Finding("storage", "failed", str(error))
    if not same:
        return Finding("storage", "gave back something else", "The storage of --run is unsound: choose another --run.")
    return Finding("storage", "written, read back and deleted")


def disk_round_trip(run: str, content: bytes, _: str | None = None) -> bytes:
    """What comes back from a file in the nearest folder that is there; raises UserError."""
    from jobs.preflight import existing_parent

    try:
        with tempfile.NamedTemporaryFile(dir=existing_parent(Path(run)), prefix=".naruto-add-") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            return Path(file.name).read_bytes()
    except OSError as error:
        raise UserError(
            f"Nothing can be written at --run ({error.strerror}): mend its permissions or choose another --run."
        ) from error


def s3_round_trip(run: str, content: bytes, endpoint: str | None) -> bytes | None:
    """What comes back from an object under the prefix; raises UserError."""
    place = s3.parse(run, endpoint)
    return s3.round_trip(s3.Store(place, FIRST_PATIENCE, name="The bucket of --run"), content)
