from dataclasses import replace
from pathlib import Path

import pytest

from naruto_add import recipe as recipes
from naruto_add.errors import UserError
from naruto_add.models.load import load_components
from naruto_add.models.student import inherit
from naruto_add.plan.networks import architecture, build, count

PUBLISHED_COUNTS = {
    "sd15": (859_520_964, 83_653_863, 123_060_480),
    "sd21": (865_910_724, 83_653_863, 340_387_840),
}
"""Of UNet, autoencoder and text encoder."""


@pytest.mark.parametrize("name", PUBLISHED_COUNTS)
def test_stable_diffusion_has_its_published_sizes(name: str) -> None:
    recipe = recipes.load(name)
    networks = build(recipe, architecture(recipe.teacher))
    assert tuple(map(count, (networks.judge, networks.vae, networks.text_encoder))) == PUBLISHED_COUNTS[name]
    assert 0.6 < count(networks.student) / count(networks.judge) < 0.7, "BK-SDM base"
    assert all(p.is_meta for p in networks.judge.parameters()), "or a plan would take gigabytes"


def test_a_folder_gives_the_networks_that_it_holds(tiny_base: Path) -> None:
    recipe = recipes.load("smoke", {"teacher.base": str(tiny_base), "data.size_px": 32, "distill.size": "small"})
    networks, real = build(recipe, architecture(recipe.teacher)), load_components(tiny_base)
    assert count(networks.teacher) == count(real.unet)
    assert count(networks.student) == count(inherit(real.unet, "small")[0])
    assert (count(networks.vae), count(networks.text_encoder)) == (count(real.vae), count(real.text_encoder))


def test_an_unknown_hub_base_is_refused_with_a_way_out() -> None:
    teacher = replace(recipes.load("sd15").teacher, base="owner/name")
    with pytest.raises(UserError, match="Give the folder that it was downloaded to"):
        architecture(teacher)
