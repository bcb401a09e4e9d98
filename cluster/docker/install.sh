#!/usr/bin/env bash
# What the Dockerfile's RUN lines do, as a script: it can be read, checked and run without a container engine.
#
#   install.sh system            packages of the operating system, as root
#   install.sh python cpu|cuda   the locked environment into the virtual environment at $VENV
#   install.sh verify            the environment at $VENV is the lock's, nothing else and nothing missing
#
# VENV, LOCK and SOURCE have the Dockerfile's places as defaults.
set -euo pipefail

VENV="${VENV:-/opt/naruto-add}"
LOCK="${LOCK:-/src/requirements.lock}"
SOURCE="${SOURCE:-/src}"
TORCH_CPU="https://download.pytorch.org/whl/cpu"

# wget: KubeRay's probes call it. rsync and openssh-client: `ray up` copies into the container, and the head reaches its
# workers by ssh. ca-certificates: https to buckets and hubs.
system() {
    apt-get update
    apt-get install --yes --no-install-recommends ca-certificates openssh-client rsync wget
    rm -rf /var/lib/apt/lists/*
}

versions() {  # the lock without its hashes: pip takes none in constraints beside a folder, and the CPU build has others
    sed 's/ --hash=.*//' "$LOCK"
}

pinned() {  # the lock's line for a package
    versions | grep --ignore-case "^$1=="
}

# The lock as a constraint, not as a list: only what running needs is installed, in the lock's versions.
python_environment() {
    test -x "$VENV/bin/python" || python3.11 -m venv "$VENV"
    local constraint
    constraint="$(mktemp)"
    versions > "$constraint"
    local pip=("$VENV/bin/python" -m pip install --no-cache-dir --disable-pip-version-check --constraint "$constraint")
    case "$1" in
        # PyPI's torch brings 3 GB of CUDA libraries; the CPU build comes from torch's own index. Its version ends in
        # +cpu and satisfies the lock's.
        cpu) "${pip[@]}" --no-deps --index-url "$TORCH_CPU" "$(pinned torch)" "$(pinned torchvision)" ;;
        cuda) ;;
        *) echo "install.sh python cpu|cuda, not $1" >&2; exit 2 ;;
    esac
    "${pip[@]}" "$SOURCE"
    rm "$constraint"
}

verify() {  # -I: what PYTHONPATH adds is not of this environment
    "$VENV/bin/python" -I -m pip check --disable-pip-version-check
    "$VENV/bin/python" -I - "$LOCK" <<'PYTHON'
import re
import sys
from importlib.metadata import distributions
from pathlib import Path


def plain(name):
    return re.sub(r"[-_.]+", "-", name).lower()


pins = [line.split()[0].split("==") for line in Path(sys.argv[1]).read_text().splitlines() if "==" in line]
locked = {plain(name): version for name, version in pins}
found = {plain(each.metadata["Name"]): each.version for each in distributions()}
free = {"pip", "setuptools", "wheel", "naruto-add"}
wrong = [
    f"{name} {version}, the lock says {locked.get(name, 'nothing')}"
    for name, version in sorted(found.items())
    if name not in free and version.partition("+")[0] != locked.get(name, "").partition("+")[0]
]
sys.exit("\n".join(wrong) if wrong else 0)
PYTHON
}

case "${1:-}" in
    system) system ;;
    python) python_environment "${2:-}" ;;
    verify) verify ;;
    *) sed -n '2,9p' "$0" >&2; exit 2 ;;
esac
