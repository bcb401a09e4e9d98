"""The page: one HTML file with its pictures inside, for a person to look at, print or send."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from PIL import Image
from torch import Tensor

from naruto_add.data.shards import Shards
from naruto_add.evaluation.curves import training_curves
from naruto_add.evaluation.figures import FILTERS, groups, headline, phases, quality_chart
from naruto_add.evaluation.generate import Gallery
from naruto_add.evaluation.memorisation import Neighbours

INDEX = "index.html"
TEMPLATE = "report.html.j2"
SHOWN_CAPTIONS, SHOWN_NEIGHBOURS = 8, 6
WEBP_QUALITY = 90
REAL = "real image"


@dataclass(frozen=True)
class Pictures:
    """What the page shows: galleries by "model@steps", from left to right, and the student's nearest neighbours."""

    golden: Mapping[str, Gallery]
    heldout: Mapping[str, Gallery]
    neighbours: Neighbours


@dataclass(frozen=True)
class Cell:
    """One picture: a data URI, what it shows, and where it comes from."""

    source: str
    alt: str
    label: str


@dataclass(frozen=True)
class Row:
    """Pictures of one caption."""

    caption: str
    cells: list[Cell]


def write_page(out: Path, report: Mapping[str, Any], pictures: Pictures, shards: Shards, runs: Path) -> None:
    """Write index.html into `out`; training curves are read from the stages' folders in `runs`, if they are there."""
    (out / INDEX).write_text(render(report, pictures, shards, runs), encoding="utf-8")


def render(report: Mapping[str, Any], pictures: Pictures, shards: Shards, runs: Path) -> str:
    """The page as text."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= FILTERS
    return environment.get_template(TEMPLATE).render(
        report=report,
        scores=report["scores"],
        settings=report["settings"],
        extractors=report["extractors"],
        headline=headline(report),
        groups=groups(report["scores"]),
        golden=golden_rows(report, pictures),
        heldout=heldout_rows(report, pictures, shards),
        neighbours=neighbour_rows(pictures, shards, headline(report).student),
        quality=quality_chart(report),
        phases=phases(report["scores"]),
        curves=training_curves(runs),
    )


def golden_rows(report: Mapping[str, Any], pictures: Pictures) -> list[Row]:
    """A row of pictures for each golden prompt."""
    return [
        Row(prompt, [generated(name, gallery, number, prompt) for name, gallery in pictures.golden.items()])
        for number, prompt in enumerate(report["settings"]["prompts"])
    ]


def heldout_rows(report: Mapping[str, Any], pictures: Pictures, shards: Shards) -> list[Row]:
    """The first held-out captions, not chosen: the real image, then the models' pictures from one noise."""
    count = min(SHOWN_CAPTIONS, shards.count("heldout"), report["settings"]["num_images"])
    captions, images = shards.captions("heldout", range(count)), shards.images("heldout", range(count))
    rows = []
    for number, caption in enumerate(captions):
        drawn = [generated(name, gallery, number, caption) for name, gallery in pictures.heldout.items()]
        rows.append(Row(caption, [Cell(data_uri(images[number]), f"{REAL}: {caption}", REAL), *drawn]))
    return rows


def neighbour_rows(pictures: Pictures, shards: Shards, student: str) -> list[Row]:
    """The student's pictures that come nearest to a training image, each beside it, nearest first."""
    found = pictures.neighbours
    rows = []
    for number in found.distances.argsort()[:SHOWN_NEIGHBOURS].tolist():
        train = int(found.ids[number])
        (caption,) = shards.captions("train", [train])
        picture = generated(student, pictures.heldout[student], number, caption)
        nearest = Cell(data_uri(shards.images("train", [train])[0]), f"training image: {caption}", "training image")
        rows.append(Row(f"{found.distances[number]:.3f}", [picture, nearest]))
    return rows


def generated(name: str, gallery: Gallery, number: int, caption: str) -> Cell:
    """The picture with this number."""
    return Cell(data_uri(gallery.images([number])[0]), f"{name}: {caption}", name)


def data_uri(image: Tensor) -> str:
    """An 8-bit picture (3, H, W) as a WebP data URI."""
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(image.permute(1, 2, 0))).save(buffer, "WEBP", quality=WEBP_QUALITY, method=4)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
