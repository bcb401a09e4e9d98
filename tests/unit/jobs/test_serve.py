"""`naruto-add serve`: what is refused before anything is started, and that help is instant."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.conftest import Done

Call = Callable[..., Done]


def test_help_needs_neither_torch_nor_ray() -> None:
    code = (
        "import sys\nfrom jobs.serve import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "assert not {'torch', 'ray', 'fastapi'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "--max-waiting" in done.stdout and "--teacher" in done.stdout


def test_it_does_not_open_itself_to_the_network_without_keys(here: Call) -> None:
    done = here(["serve", "--host", "0.0.0.0"])
    assert done.returncode == 2 and "--new-key" in done.stderr


def test_a_taken_port_is_told(here: Call) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = here(["serve", "--port", str(port)])
    assert done.returncode == 2 and f"127.0.0.1:{port} cannot be listened on" in done.stderr


def test_what_is_no_bundle_is_told(here: Call, tmp_path: Path) -> None:
    done = here(["serve", str(tmp_path), "--port", "0"])
    assert done.returncode == 2 and str(tmp_path) in done.stderr


def test_a_new_key_is_shown_with_its_hash(here: Call, tmp_path: Path) -> None:
    from serve.auth import Keys, read_hashes

    shown = json.loads(here(["serve", "--new-key"]).stdout)
    file = tmp_path / "keys"
    file.write_text(f"{shown['sha256']} made today\n")
    assert Keys(read_hashes(file)).caller(f"Bearer {shown['key']}") == shown["sha256"][:12]


def test_the_shipped_student_is_that_of_generate() -> None:
    from naruto_add import generate
    from serve import settings

    assert settings.SHIPPED == generate.SHIPPED


def test_starting_a_server_imports_no_torch() -> None:
    code = "import sys, serve.deployment\nassert not {'torch', 'diffusers'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
