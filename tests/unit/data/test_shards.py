from __future__ import annotations

import json
import tarfile
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from naruto_add import artifact
from naruto_add.data import images
from naruto_add.data.shards import Entry, Shards, write_index, write_split
from naruto_add.errors import UserError
from tests.unit.data.pictures import picture


def entry(number: int, extension: str = "png") -> Entry:
    image = picture(number, (32, 32))
    content = images.encode_png(image) if extension == "png" else images.encode_jpeg(image)
    return Entry(content, extension, {"caption": f"forêt {number}", "attributes": {"hair": number}})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten training samples in shards of four, three held out as JPEG."""
    train = write_split(tmp_path, "train", map(entry, range(10)), 4)
    heldout = write_split(tmp_path, "heldout", (entry(n, "jpg") for n in range(10, 13)), 4)
    write_index(tmp_path, 32, {"train": train, "heldout": heldout})
    return tmp_path


def test_samples_come_back_by_number(folder: Path) -> None:
    shards = Shards(folder)
    assert (shards.size_px, shards.count("train"), shards.count("heldout")) == (32, 10, 3)
    sample = shards.sample("train", 5)
    assert np.array_equal(np.asarray(sample.image), np.asarray(picture(5, (32, 32))))
    assert (sample.id, sample.caption, sample.attributes) == (5, "forêt 5", {"hair": 5})
    assert shards.captions("heldout") == ["forêt 10", "forêt 11", "forêt 12"]
    assert shards.attributes("train", [9, 0]) == [{"hair": 9}, {"hair": 0}]


def test_images_come_as_one_tensor_in_the_order_asked_for(folder: Path) -> None:
    found = Shards(folder).images("train", [8, 3, 3, 0])
    assert found.dtype == torch.uint8 and found.shape == (4, 3, 32, 32)
    expected = [np.asarray(picture(number, (32, 32))).transpose(2, 0, 1) for number in (8, 3, 3, 0)]
    assert np.array_equal(found.numpy(), np.stack(expected))


def test_any_tar_reader_can_read_them(folder: Path) -> None:
    with tarfile.open(folder / "heldout-00000.tar") as tar:
        members = tar.getmembers()
        description = json.load(tar.extractfile("00000001.json"))
        image = Image.open(tar.extractfile("00000001.jpg"))
        assert image.size == (32, 32)
    assert [member.name for member in members[:2]] == ["00000000.jpg", "00000000.json"]
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in members} == {(0, 0, 0, "", "", 0o644)}
    assert description["caption"] == "forêt 11"


def test_keys_go_on_from_shard_to_shard(folder: Path) -> None:
    with tarfile.open(folder / "train-00002.tar") as tar:
        assert tar.getnames() == ["00000008.png", "00000008.json", "00000009.png", "00000009.json"]


def test_they_can_be_sent_to_another_process(folder: Path) -> None:
    shards = Shards(folder)
    shards.sample("train", 0)
    sent = ForkingPickler.dumps(shards)
    assert ForkingPickler.loads(sent).captions("train") == shards.captions("train")
    assert len(sent) < 2000


@pytest.mark.parametrize("place", [0, 700, -1])
def test_one_flipped_bit_is_noticed_at_first_use(folder: Path, place: int) -> None:
    path = folder / "train-00001.tar"
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    shards = Shards(folder)
    assert shards.sample("train", 0).caption == "forêt 0"
    with pytest.raises(UserError, match=r"train-00001\.tar: content changed"):
        shards.sample("train", 4)


def test_what_is_not_a_folder_of_shards_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Run prepare first"):
        Shards(tmp_path)
    (tmp_path / "index.json").write_text('{"size_px": 32}')
    with pytest.raises(UserError, match="is damaged"):
        Shards(tmp_path)


def test_a_changed_index_of_an_artifact_is_told(tmp_path: Path) -> None:
    def make(place: Path) -> None:
        write_index(place, 32, {"train": write_split(place, "train", map(entry, range(4)), 4), "heldout": []})

    made = artifact.build(tmp_path / "shards", kind="shards", config={}, parents={}, make=make)
    index = made.path / "index.json"
    index.write_text(index.read_text().replace('"size_px": 32', '"size_px": 33'))
    with pytest.raises(UserError, match="content changed"):
        Shards(made.path)
