from __future__ import annotations

import csv
import json
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from naruto_add.config import DataConfig
from naruto_add.data import prepare as module
from naruto_add.data.ingest import Item
from naruto_add.data.prepare import Outcome, prepare
from naruto_add.data.shards import Shards
from naruto_add.errors import UserError
from naruto_add.on_ray.prepare import map_in_processes
from tests.tiny import tiny_tokenizer
from tests.unit.data.pictures import encoded, folder_of, picture

Function = Callable[[Item], Outcome]


def prepared(folder: Path, config: DataConfig, seed: int = 0, **options: Any) -> Shards:
    folder.mkdir(parents=True)
    prepare(config, seed, folder, **options)
    return Shards(folder)


def quarantine(folder: Path) -> dict[str, tuple[str, str]]:
    with (folder / "quarantine.csv").open(newline="") as file:
        return {row["item"]: (row["reason"], row["detail"]) for row in csv.DictReader(file)}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def source(tmp_path: Path) -> DataConfig:
    """Twenty pictures, one of each kind of trouble, in a folder."""
    root = folder_of(tmp_path / "mine", 20)
    trouble = {
        "z/again.jpg": encoded(picture(3, (60, 40)), "JPEG", quality=60),
        "z/broken.png": encoded(picture(50))[:-200],
        "z/moving.gif": encoded(picture(51), "GIF", save_all=True, append_images=[picture(52)]),
        "z/silent.png": encoded(picture(53)),
        "z/empty.png": encoded(picture(54)),
        "z/tiny.png": encoded(picture(55, (9, 9))),
    }
    (root / "z").mkdir()
    for name, content in trouble.items():
        (root / name).write_bytes(content)
        if name != "z/silent.png":
            (root / name).with_suffix(".txt").write_text("..." if "empty" in name else "a ninja in the rain")
    return DataConfig(source=str(root), size_px=32, shard_images=5, num_heldout=4)


def test_every_item_is_in_the_shards_or_in_the_quarantine(tmp_path: Path, source: DataConfig) -> None:
    shards = prepared(tmp_path / "out", source)
    assert {name: reason for name, (reason, _) in quarantine(shards.path).items()} == {
        "z/again.jpg": "duplicate_of",
        "z/broken.png": "corrupt",
        "z/moving.gif": "animated",
        "z/silent.png": "no_caption",
        "z/empty.png": "empty_caption",
        "z/tiny.png": "too_small",
    }
    assert quarantine(shards.path)["z/again.jpg"][1] == "b/003.jpg"
    kept = [meta["source"] for split in ("train", "heldout") for meta in shards.metas(split)]
    assert sorted(kept) == sorted(f"{'ab'[n % 2]}/{n:03d}.jpg" for n in range(20))
    assert (shards.count("train"), shards.count("heldout")) == (16, 4)


def test_a_sample_says_where_it_came_from(tmp_path: Path, source: DataConfig) -> None:
    meta = prepared(tmp_path / "out", source).metas("train", [0])[0]
    number = int(meta["source"][2:5])
    assert meta["caption"] == f"ninja number {number}"
    assert (meta["width"], meta["height"], meta["language"], meta["attributes"]) == (96, 64, "und", None)
    assert len(meta["sha256"]) == 64 and len(meta["phash"]) == 16


def threads(function: Function, items: Sequence[Item]) -> Iterator[Outcome]:
    with ThreadPoolExecutor(4) as pool:
        return pool.map(function, items)


def shuffled(function: Function, items: Sequence[Item]) -> Iterable[Outcome]:
    """Done in another order, as workers do; returned in order, as a mapper must."""
    numbers = random.Random(1).sample(range(len(items)), len(items))
    done = {number: function(items[number]) for number in numbers}
    return [done[number] for number in range(len(items))]


@pytest.mark.parametrize("mapper", [threads, shuffled, partial(map_in_processes, 2)])
def test_the_bytes_do_not_depend_on_who_does_the_work(
    tmp_path: Path, source: DataConfig, mapper: module.Mapper
) -> None:
    prepared(tmp_path / "one", source)
    prepared(tmp_path / "many", source, mapper=mapper)
    assert contents(tmp_path / "one") == contents(tmp_path / "many")


def test_the_split_does_not_depend_on_names(tmp_path: Path) -> None:
    config = DataConfig(source=str(folder_of(tmp_path / "mine", 30)), size_px=32, num_heldout=6)
    before = prepared(tmp_path / "before", config)
    root = tmp_path / "moved"
    root.mkdir()
    for path in (tmp_path / "mine").rglob("*.jpg"):
        (root / f"{99 - int(path.stem)}.jpg").write_bytes(path.read_bytes())
        (root / f"{99 - int(path.stem)}.txt").write_text(f"ninja number {int(path.stem)}")
    after = prepared(tmp_path / "after", replace(config, source=str(root)))
    assert set(before.captions("heldout")) == set(after.captions("heldout"))


def test_no_held_out_image_resembles_a_training_image(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "mine", 12)
    for path in list(root.rglob("*.jpg")):
        path.with_name(f"{path.stem}-small.jpg").write_bytes(encoded(picture(int(path.stem), (72, 48)), "JPEG"))
        path.with_name(f"{path.stem}-small.txt").write_text("the same")
    shards = prepared(tmp_path / "out", DataConfig(source=str(root), size_px=64, duplicate_bits=8))
    hashes = {split: [int(m["phash"], 16) for m in shards.metas(split)] for split in ("train", "heldout")}
    assert (len(hashes["train"]), len(hashes["heldout"])) == (8, 4)
    assert min((a ^ b).bit_count() for a in hashes["train"] for b in hashes["heldout"]) > 8


def test_more_training_images_leave_the_held_out_ones_alone(tmp_path: Path) -> None:
    config = DataConfig(num_images=6, num_heldout=3, size_px=32)
    few = prepared(tmp_path / "few", config)
    many = prepared(tmp_path / "many", replace(config, num_images=9))
    assert (few.path / "heldout-00000.tar").read_bytes() == (many.path / "heldout-00000.tar").read_bytes()
    assert many.captions("train")[:6] == few.captions("train")
    assert {meta["source"] for meta in few.metas("train")} == {f"ninja:{n}" for n in range(6)}
    attributes = few.attributes("heldout", [0])[0]
    assert attributes is not None and {"place", "mentioned"} <= set(attributes)


def test_at_most_so_many_images_are_taken_by_name(tmp_path: Path) -> None:
    config = DataConfig(source=str(folder_of(tmp_path / "mine", 40)), size_px=32, num_images=8, num_heldout=4)
    shards = prepared(tmp_path / "out", config)
    assert (shards.count("train"), shards.count("heldout")) == (8, 4)
    numbers = [int(meta["source"][2:5]) for meta in shards.metas("train")]
    assert max(numbers) - min(numbers) > 15


def test_long_captions_are_cut_to_the_tokenizers_limit(tmp_path: Path, source: DataConfig) -> None:
    (Path(source.source) / "a/000.jpg").unlink()
    rows = [json.dumps({"file_name": f"{'ab'[n % 2]}/{n:03d}.jpg", "text": "ninja " * 20}) for n in range(1, 20)]
    (Path(source.source) / "metadata.jsonl").write_text("\n".join(rows))
    shards = prepared(tmp_path / "out", source, tokenizer=tiny_tokenizer())
    assert set(shards.captions("train")) == {"ninja " * 8 + "ninja"}  # 46 tokens, a letter each


def test_too_many_rejections_stop_it_and_say_why(tmp_path: Path, source: DataConfig) -> None:
    with pytest.raises(UserError, match=r"5 of 26 images rejected \(1 .*max_rejected allows 10%.*quarantine\.csv"):
        prepared(tmp_path / "out", replace(source, max_rejected=0.1))
    assert len(quarantine(tmp_path / "out")) == 6
    assert not list((tmp_path / "out").glob("*.tar"))
    assert not (tmp_path / "out/.spool").exists()


def test_a_set_of_one_picture_is_told(tmp_path: Path) -> None:
    root = tmp_path / "mine"
    root.mkdir()
    for number in range(6):
        (root / f"{number}.png").write_bytes(encoded(picture(0)))
        (root / f"{number}.txt").write_text("a ninja")
    with pytest.raises(UserError, match=r"1 of 6 images can be used \(the others repeat them\)"):
        prepared(tmp_path / "out", DataConfig(source=str(root), size_px=32))


def test_a_full_disk_is_told_before_the_work(
    tmp_path: Path, source: DataConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = module.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(UserError, match=r"0\.0 GB free"):
        prepared(tmp_path / "out", source)
    assert not list((tmp_path / "out").iterdir())


def test_a_caption_model_captions_what_has_none(tmp_path: Path, source: DataConfig, blip: Path) -> None:
    for name in ("metadata.jsonl", "z/moving.txt", "z/tiny.txt", "z/broken.txt", "z/again.txt"):
        (Path(source.source) / name).unlink()
    shards = prepared(tmp_path / "out", replace(source, caption_model=str(blip)))
    assert shards.count("train") + shards.count("heldout") == 21  # z/silent.png too
    assert set(" ".join(shards.captions("train")).split()) <= {"ninja", "fire", "forest", "moon", "rain"}
    assert quarantine(shards.path)["z/empty.png"][0] == "empty_caption"
