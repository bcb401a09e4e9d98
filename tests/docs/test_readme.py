"""Every command of the README and of the cluster's is run, in the small.

Rules of substitution: `--recipe mini` becomes the smoke recipe on the tiny base in one process; `runs/NAME` a copy of
a finished tiny run (`runs/mine`: an empty folder); numbers of a thousand or more shrink to 24, those of a hundred to 6;
`my_images` is a folder of 40 drawings; pictures go to a temporary folder. `make` is asked what it would do. In
blocks that begin with `# cluster`, which need machines, jobs are parsed and checked up to the point where they would
start, and Ray's own commands must exist.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import click
import pytest
from PIL import Image, ImageDraw
from ray.scripts.scripts import cli as ray_cli

from jobs.arguments import parse
from jobs.entry import VERBS
from naruto_add.artifact import read_manifest
from tests.conftest import REPOSITORY, Done, naruto_add

BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)
CLUSTER = "# cluster"


def blocks(file: str, language: str) -> list[str]:
    """The fenced blocks of a Markdown file in one language."""
    found = BLOCK.findall((REPOSITORY / file).read_text(encoding="utf-8"))
    return [content for name, content in found if name == language]


def commands(file: str, cluster: bool) -> Iterator[list[str]]:
    """The words of each command line in bash blocks of one of the two kinds."""
    for block in blocks(file, "bash"):
        if block.startswith(CLUSTER) == cluster:
            lines = (shlex.split(line, comments=True) for line in block.splitlines())
            yield from (words for words in lines if words)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_run: Path) -> Path:
    """A folder as the README's reader has it: a finished demo, and images of his own."""
    folder = tmp_path_factory.mktemp("reader")
    for name in ("demo", "longer"):
        shutil.copytree(tiny_run, folder / "runs" / name)
    images = folder / "my_images"
    images.mkdir()
    for number in range(40):
        picture = Image.effect_noise((48, 40), 200).convert("RGB")
        ImageDraw.Draw(picture).ellipse((number, 5, number + 8, 30), fill=(255, 6 * number, 0))
        picture.save(images / f"{number}.png")
        (images / f"{number}.txt").write_text(f"a ball at place {number}", encoding="utf-8")
    return folder


def small(words: list[str], place: Path, tiny_words: list[str]) -> list[str]:
    """The command with its substitutions."""
    text = " ".join(f"\0{word}\0" for word in words)
    text = text.replace("\0--recipe\0 \0mini\0", " ".join(f"\0{word}\0" for word in tiny_words))
    text = re.sub(r"\0\d{4,}\0", "\0" + "24" + "\0", text)
    text = re.sub(r"\0\d{3}\0", "\0" + "6" + "\0", text)
    for name in ("runs/", "my_images", "naruto.png"):
        text = text.replace(f"\0{name}", f"\0{place}/{name}")
    return re.findall("\0(.*?)\0", text)


@pytest.mark.slow
def test_every_local_command_works(
    place: Path, tiny_words: list[str], here: Callable[[Sequence[str | Path]], Done]
) -> None:
    ran = 0
    for words in commands("README.md", cluster=False):
        if words[0] == "make":
            assert_make_target(words)
            continue
        assert words[0] == "naruto-add", f"a rule is needed for {words}"
        if words[-1] == "--help":
            assert naruto_add(words[1:]).returncode == 0
            continue
        done = here(small(words, place, tiny_words)[1:])
        assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}\n{done.stderr}"
        ran += 1
    assert ran >= 9
    assert (place / "naruto.png").is_file()
    assert (place / "runs" / "demo" / "shards.png").is_file()
    longer = read_manifest(place / "runs" / "longer" / "student").config["distill"]["optim"]["images"]
    assert longer == 24
    mine = read_manifest(place / "runs" / "mine" / "shards").config["data"]["source"]
    assert mine == str(place / "my_images")
    assert (place / "runs" / "mine" / "bundle" / "README.md").is_file()


def assert_make_target(words: list[str]) -> None:
    """The target exists, and does what the README says."""
    done = subprocess.run([*words, "--dry-run"], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    expected = {"demo": "naruto-add run --recipe mini --run runs/demo", "test": "-m pytest"}[words[1]]
    assert expected in done.stdout


def test_the_two_commands_come_first() -> None:
    assert [words[1] for words in commands("README.md", cluster=False)][:2] == ["demo", "test"]


def test_the_python_example_runs_with_plain_diffusers(tiny_run: Path, tmp_path: Path) -> None:
    (code,) = blocks("README.md", "python")
    code = code.replace("runs/demo", str(tiny_run))
    subprocess.run([sys.executable, "-I", "-c", code], cwd=tmp_path, check=True, capture_output=True)
    with Image.open(tmp_path / "ninja.png") as picture:
        assert picture.size == (32, 32)


@pytest.mark.parametrize("file", ["README.md", "cluster/README.md"])
def test_cluster_commands_are_in_order(file: str) -> None:
    found = list(commands(file, cluster=True))
    assert found
    jobs = [words for words in found if words[:3] == ["ray", "job", "submit"]]
    for words in jobs:
        module, arguments = words[words.index("-m") + 1], words[words.index("-m") + 2 :]
        verb = next(name for name, entry in VERBS.items() if entry.module == module)
        assert parse(verb, arguments).recipe.compute.address == "auto"
    others = [words for words in found if words[0] == "ray" and words not in jobs]
    assert others
    for words in others:
        ray_knows(words)


def ray_knows(words: list[str]) -> None:
    """Ray has the command, and files named in it exist."""
    command = ray_cli
    for word in words[1 : 3 if words[1] == "job" else 2]:
        assert isinstance(command, click.Group) and word in command.commands, words
        command = command.commands[word]
    assert all((REPOSITORY / word).is_file() for word in words if word.endswith(".yaml"))


@pytest.mark.parametrize("file", ["README.md", "CONTRIBUTING.md", "cluster/README.md"])
def test_links_and_named_folders_exist(file: str) -> None:
    text = (REPOSITORY / file).read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", text):
        assert ((REPOSITORY / file).parent / target).exists(), target


def test_the_map_names_what_is_there() -> None:
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8").partition("## The folders")[2]
    library, top = [], []
    for line in text.splitlines():
        if match := re.match(r"^    (  )?([\w.]+/?) {2,}", line):
            (library if match[1] else top).append(match[2])
    assert {"naruto_add/", "jobs/", "serve/", "cluster/", "tests/"} == set(top)
    assert all((REPOSITORY / name).is_dir() for name in top)
    assert len(library) > 10
    for name in library:
        assert (REPOSITORY / "naruto_add" / name).exists(), name
