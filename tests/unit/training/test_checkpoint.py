import json
import logging
from pathlib import Path

import pytest
import torch

from naruto_add.artifact import sealed, write_json
from naruto_add.errors import UserError
from naruto_add.training import checkpoint
from naruto_add.training.player import Player
from naruto_add.training.state import TrainState
from naruto_add.training.world import World
from tests.unit.training.toys import Copycat, assert_equal, batch_at, everything, network, optim_of

ALONE = World()


def trained(steps: int) -> Copycat:
    method = Copycat(optim_of())
    for k in range(steps):
        method.step(batch_at([4 * k + i for i in range(4)]), TrainState(0, 4, 4 * k))
    return method


def saved(folder: Path, steps: int) -> Copycat:
    method = trained(steps)
    checkpoint.save(folder, TrainState(0, 4, 4 * steps, 1.5), method.players.values(), ALONE)
    return method


def load(folder: Path) -> tuple[Copycat, TrainState | None]:
    method = Copycat(optim_of(), module=network(seed=9))
    return method, checkpoint.load(folder, method.players.values(), ALONE)


def test_everything_comes_back_bit_for_bit(tmp_path: Path) -> None:
    method = saved(tmp_path, 3)
    found, state = load(tmp_path)
    assert state == TrainState(0, 4, 12, 1.5)
    assert_equal(everything(found), everything(method))


def test_there_is_only_safetensors_and_json(tmp_path: Path) -> None:
    saved(tmp_path, 1)
    files = {p.name for p in (tmp_path / "images-000000000004").iterdir()}
    assert files == {"rank-00000.safetensors", "state.json", "manifest.json"}


def test_no_checkpoint_is_no_error(tmp_path: Path) -> None:
    assert load(tmp_path / "nowhere")[1] is None


def test_the_last_two_are_kept(tmp_path: Path) -> None:
    for steps in (1, 2, 3):
        saved(tmp_path, steps)
    assert [p.name for p in checkpoint.checkpoints(tmp_path)] == ["images-000000000012", "images-000000000008"]


@pytest.mark.parametrize("file", ["rank-00000.safetensors", "state.json", "manifest.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "gone"])
def test_a_damaged_newest_one_gives_way_to_the_one_before(
    tmp_path: Path, file: str, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = saved(tmp_path, 2)
    saved(tmp_path, 3)
    path = tmp_path / "images-000000000012" / file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x40
    {"flip": lambda: path.write_bytes(content), "cut": lambda: path.write_bytes(content[:-9]), "gone": path.unlink}[
        damage
    ]()
    with caplog.at_level(logging.WARNING):
        found, state = load(tmp_path)
    assert state is not None and state.images == 8
    assert_equal(everything(found), everything(before))
    assert "images-000000000012 is passed over" in caplog.text


def test_a_half_written_one_is_not_seen_and_does_not_hinder(tmp_path: Path) -> None:
    saved(tmp_path, 1)
    partial = tmp_path / ".images-000000000008.partial"
    partial.mkdir()
    (partial / "rank-00000.safetensors").write_bytes(b"half")
    assert checkpoint.newest(tmp_path) == tmp_path / "images-000000000004"
    saved(tmp_path, 2)
    assert checkpoint.newest(tmp_path) == tmp_path / "images-000000000008"


def test_a_broken_one_is_replaced_when_training_gets_there_again(tmp_path: Path) -> None:
    saved(tmp_path, 2)
    (tmp_path / "images-000000000008" / "state.json").write_text("{}")
    method = saved(tmp_path, 2)
    assert_equal(everything(load(tmp_path)[0]), everything(method))


def test_several_ranks_files_are_read_as_one(tmp_path: Path) -> None:
    """What two workers wrote, one can read: tensors are whole and found by name."""
    method = trained(2)
    path, state, players = tmp_path / "images-000000000008", TrainState(0, 4, 8), method.players.values()
    drafts = [
        checkpoint.Draft(path, state, checkpoint.share(players, World(rank, 2)), World(rank, 2)) for rank in (0, 1)
    ]
    drafts[0].partial.mkdir()
    for draft in drafts:
        checkpoint.write(draft)
    for draft in reversed(drafts):
        assert not path.exists()
        checkpoint.commit(draft)
    assert json.loads((tmp_path / "images-000000000008" / "manifest.json").read_text())["workers"] == 2
    assert_equal(everything(load(tmp_path)[0]), everything(method))


def test_another_model_is_refused(tmp_path: Path) -> None:
    saved(tmp_path, 1)
    other = Player("copycat", torch.nn.Linear(3, 5), optim_of())
    with pytest.raises(UserError, match="does not fit the copycat"):
        checkpoint.load(tmp_path, [other], ALONE)


def test_a_newer_schema_is_passed_over(tmp_path: Path) -> None:
    saved(tmp_path, 1)
    manifest = tmp_path / "images-000000000004" / "manifest.json"
    values = json.loads(manifest.read_text())
    write_json(manifest, sealed({name: values[name] for name in checkpoint.FIELDS} | {"schema": 2}))
    assert "schema 2" in str(checkpoint.defect(manifest.parent))


def test_one_that_was_being_replaced_is_put_back(tmp_path: Path) -> None:
    """After a rollback a checkpoint of the same name is written; a kill between the two renames loses neither."""
    method = saved(tmp_path, 2)
    path = tmp_path / "images-000000000008"
    path.rename(tmp_path / f".{path.name}{checkpoint.REPLACED}")
    found, state = load(tmp_path)
    assert state is not None and state.images == 8
    assert_equal(everything(found), everything(method))
    saved(tmp_path, 2)
    assert sorted(p.name for p in tmp_path.iterdir()) == [path.name]


def test_no_bit_of_its_manifest_changes_unnoticed(tmp_path: Path) -> None:
    saved(tmp_path, 1)
    manifest = tmp_path / "images-000000000004" / "manifest.json"
    whole = manifest.read_bytes()
    for place in range(len(whole)):
        bit = 5 if place % 2 else place % 8
        manifest.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << bit)]) + whole[place + 1 :])
        assert checkpoint.defect(manifest.parent), (place, bit)
    manifest.write_bytes(whole)
    assert checkpoint.defect(manifest.parent) is None


def test_one_without_a_seal_is_still_read(tmp_path: Path) -> None:
    saved(tmp_path, 1)
    manifest = tmp_path / "images-000000000004" / "manifest.json"
    values = json.loads(manifest.read_text())
    write_json(manifest, {name: values[name] for name in values if name in checkpoint.FIELDS})
    assert checkpoint.defect(manifest.parent) is None


def test_names_of_another_form_are_no_checkpoints(tmp_path: Path) -> None:
    saved(tmp_path, 1)
    for name in ("images-12", "images-000000000012.old", "x-images-000000000012", "images-0000000000012"):
        (tmp_path / name).mkdir()
    assert [checkpoint.images_of(path) for path in checkpoint.checkpoints(tmp_path)] == [4]


def test_as_many_are_kept_as_are_asked_for(tmp_path: Path) -> None:
    for images in (4, 8, 12, 16):
        method = trained(1)
        path = checkpoint.save(tmp_path, TrainState(0, 4, images), method.players.values(), ALONE, keep=3)
    assert path == tmp_path / "images-000000000016"
    assert [checkpoint.images_of(path) for path in checkpoint.checkpoints(tmp_path)] == [16, 12, 8]


def test_what_was_replaced_is_removed_when_the_new_one_is_there(tmp_path: Path) -> None:
    saved(tmp_path, 2)
    aside = tmp_path / f".images-000000000008{checkpoint.REPLACED}"
    aside.mkdir()
    (aside / "old").write_text("old")
    assert load(tmp_path)[1] is not None
    assert [p.name for p in tmp_path.iterdir()] == ["images-000000000008"]


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    saved(tmp_path, 1)
    path = tmp_path / "images-000000000004"
    manifest = json.loads((path / "manifest.json").read_text())
    state = (path / "state.json").read_bytes()
    (path / "state.json").write_bytes(state + b" ")
    assert checkpoint.defect(path) == "state.json changed since it was written"
    (path / "rank-00000.safetensors").write_bytes(b"")
    assert checkpoint.defect(path) == "rank-00000.safetensors, state.json changed since it was written"
    values = {name: manifest[name] for name in checkpoint.FIELDS}
    write_json(path / "manifest.json", sealed(values | {"note": ""}))
    assert checkpoint.defect(path) == "manifest.json is not a checkpoint's"
    (path / "manifest.json").unlink()
    assert str(checkpoint.defect(path)).startswith("FileNotFoundError: ")


def test_the_manifest_says_what_is_there(tmp_path: Path) -> None:
    saved(tmp_path, 1)
    path = tmp_path / "images-000000000004"
    manifest = json.loads((path / "manifest.json").read_text())
    sizes = {name: size for name, (size, _) in manifest["files"].items()}
    assert sizes == {name: (path / name).stat().st_size for name in ("rank-00000.safetensors", "state.json")}
    assert (manifest["kind"], manifest["schema"], manifest["workers"]) == ("checkpoint", 1, 1)


def test_ranks_share_the_tensors_and_write_copies() -> None:
    players = trained(1).players.values()
    whole = dict(pair for player in players for pair in player.tensors())
    parts = [checkpoint.share(players, World(rank, 3)) for rank in range(3)]
    assert [name for part in parts for name in part] == [name for k in range(3) for name in list(whole)[k::3]]
    for name, tensor in (pair for part in parts for pair in part.items()):
        assert torch.equal(tensor, whole[name]) and tensor.data_ptr() != whole[name].data_ptr()


def test_tensors_are_listed_by_name(tmp_path: Path) -> None:
    method = saved(tmp_path, 1)
    tensors = checkpoint.Tensors(tmp_path / "images-000000000004")
    names = {name for player in method.players.values() for name, _ in player.tensors()}
    assert set(tensors) == names and len(tensors) == len(names)
