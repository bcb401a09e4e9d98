"""From a source of captioned images to a folder of shards: read, decode, check, split, write.

The work on single images goes through a `Mapper`, so that it runs in this process or on Ray, with the same bytes as
result: outcomes come back in the order of the items, and everything that looks at more than one image happens here.
"""

from __future__ import annotations

import csv
import hashlib
import json
import logging
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import BinaryIO

from naruto_add.config import DataConfig
from naruto_add.data import captions, dedupe, images
from naruto_add.data.captions import Tokenizer
from naruto_add.data.images import Reason, Rejected
from naruto_add.data.ingest import Item, Listing, Shape, Source, open_source
from naruto_add.data.shards import Entry, write_index, write_split
from naruto_add.data.trees import HOW_TO_CAPTION
from naruto_add.errors import UserError, raise_all

log = logging.getLogger(__name__)

QUARANTINE = "quarantine.csv"
FEWEST = 4
"""Fewer usable images cannot be split and trained on."""
BYTES_PER_PIXEL = 1.5
"""Of a stored image, generously."""


@dataclass(frozen=True)
class Outcome:
    """What became of one item: an encoded image with its description, or a reason. Flat, so that it can be a row."""

    name: str
    reason: str = ""
    detail: str = ""
    image: bytes = b""
    extension: str = ""
    caption: str = ""
    language: str = ""
    width: int = 0
    height: int = 0
    sha256: str = ""
    phash: str = ""
    attributes: str = "null"
    """JSON."""


@dataclass(frozen=True)
class Kept:
    """An accepted item: its outcome without the image, and where the image lies in the spool."""

    item: Item
    outcome: Outcome
    offset: int
    size: int


Mapper = Callable[[Callable[[Item], Outcome], Sequence[Item]], Iterable[Outcome]]
"""Applies a function to items and gives the outcomes in the same order."""


def check(config: DataConfig, seed: int = 0) -> list[str]:
    """What is wrong with the source, as far as that can be told without reading images; one text per problem."""
    try:
        source = open_source(config, seed)
        return listing_problems(config, source.listing())
    except UserError as error:
        return [str(error)]


def prepare(
    config: DataConfig, seed: int, folder: Path, mapper: Mapper = map, tokenizer: Tokenizer | None = None
) -> None:
    """Write the shards of the configured source, `index.json` and `quarantine.csv` into `folder`.

    Captions are counted in the tokenizer's tokens, else in words. Raises UserError with all problems of the source,
    if the disk is too small, or if too many images are rejected (`quarantine.csv` then says which and why).
    """
    source = open_source(config, seed)
    listing = source.listing()
    raise_all(listing_problems(config, listing))
    items = choose(listing.items, config)
    check_space(folder, len(items), config.size_px)
    log.info("%d items to read from %s", len(items), config.source)
    shape = Shape(config.size_px, int(config.max_megapixels * 1e6))
    work = partial(process, source, shape, config.caption_model)
    spool = folder / ".spool"
    try:
        with spool.open("w+b") as file:
            kept, refused = collect(items, mapper(work, items), config, tokenizer, file)
            kept, doubles = remove_duplicates(kept, config.duplicate_bits)
            write_quarantine(folder, [*refused, *doubles])
            check_refused(config, folder, len(items), refused, len(kept))
            write_shards(config, source, kept, folder, file)
    finally:
        spool.unlink(missing_ok=True)
    report(kept, [*refused, *doubles])


def listing_problems(config: DataConfig, listing: Listing) -> list[str]:
    """What is wrong with what a source holds."""
    found = list(listing.problems)
    if not listing.items and not found:
        formats = ", ".join(images.SUFFIXES)
        found.append(f"data.source {config.source}: no images there (looked for {formats}). Check the path.")
    elif 0 < len(listing.items) < FEWEST:
        found.append(f"data.source {config.source}: {len(listing.items)} images; at least {FEWEST} are needed.")
    if listing.items and not listing.captioned and config.caption_model is None:
        found.append(f"data.source {config.source}: no image has a caption. {HOW_TO_CAPTION}")
    return found


def choose(items: list[Item], config: DataConfig) -> list[Item]:
    """At most `num_images + num_heldout` items, a sample that depends on their names alone, in their order."""
    if config.num_images is None or len(items) <= config.num_images + config.num_heldout:
        return items
    ranks = [hashlib.sha256(item.name.encode()).digest() for item in items]
    limit = sorted(ranks)[config.num_images + config.num_heldout]
    return [item for item, rank in zip(items, ranks, strict=True) if rank < limit]


def check_space(folder: Path, count: int, size_px: int) -> None:
    """Raise UserError if the disk would run full; images lie there twice for a moment."""
    needed = int(2 * count * size_px**2 * BYTES_PER_PIXEL) + 2**20
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(
            f"{folder}: {free / 1e9:.1f} GB free, {needed / 1e9:.1f} GB needed for {count} images of {size_px} px. "
            "Free some space and give the same command again, choose another --run, or lower data.num_images."
        )


def process(source: Source, shape: Shape, caption_model: str | None, item: Item) -> Outcome:
    """Read, decode, square, encode and hash one item; runs wherever the mapper runs."""
    try:
        picture = source.load(item, shape)
    except Rejected as error:
        return Outcome(item.name, error.reason, error.detail)
    caption = picture.caption
    if not caption and caption_model is not None:
        caption = captions.load_captioner(caption_model)(picture.image)
    return Outcome(
        name=item.name,
        image=images.encode_png(picture.image) if source.lossless else images.encode_jpeg(picture.image),
        extension="png" if source.lossless else "jpg",
        caption=caption,
        language=picture.language,
        width=picture.width,
        height=picture.height,
        sha256=picture.sha256,
        phash=images.perceptual_hash(picture.image),
        attributes=json.dumps(picture.attributes),
    )


def collect(
    items: Sequence[Item],
    outcomes: Iterable[Outcome],
    config: DataConfig,
    tokenizer: Tokenizer | None,
    spool: BinaryIO,
) -> tuple[list[Kept], list[Outcome]]:
    """Check the captions and put the images of accepted items aside; returns accepted and refused ones, in order."""
    kept: list[Kept] = []
    refused: list[Outcome] = []
    limit = captions.token_limit(config.max_caption_tokens, tokenizer)
    for item, outcome in zip(items, outcomes, strict=True):
        assert item.name == outcome.name, "a mapper must keep the order"
        checked = check_caption(outcome, limit, tokenizer)
        if checked.reason:
            refused.append(checked)
            continue
        kept.append(Kept(item, replace(checked, image=b""), spool.tell(), len(checked.image)))
        spool.write(checked.image)
    return kept, refused


def check_caption(outcome: Outcome, limit: int, tokenizer: Tokenizer | None) -> Outcome:
    """The outcome with its caption cleaned and cut to `limit` tokens, or refused for it."""
    if outcome.reason:
        return outcome
    if not outcome.caption:
        return replace(outcome, reason=Reason.NO_CAPTION, detail="neither metadata, sidecar nor caption model gave one")
    try:
        caption = captions.clean(outcome.caption)
    except Rejected as error:
        return replace(outcome, reason=error.reason, detail=error.detail)
    short = captions.cut(caption, limit, tokenizer)
    lost = caption[len(short) :].strip()
    return replace(outcome, caption=short, detail=f"lost {lost[:80]!r}" if lost else "")


def remove_duplicates(kept: list[Kept], max_bits: int) -> tuple[list[Kept], list[Outcome]]:
    """The items without near-duplicates of earlier ones, and those, each naming the one it repeats."""
    doubles = dedupe.duplicates([int(one.outcome.phash, 16) for one in kept], max_bits)
    refused = [
        replace(kept[number].outcome, reason=Reason.DUPLICATE, detail=kept[first].item.name)
        for number, first in doubles.items()
    ]
    return [one for number, one in enumerate(kept) if number not in doubles], refused


def write_quarantine(folder: Path, refused: Iterable[Outcome]) -> None:
    """Write `quarantine.csv`: item, reason code, detail."""
    with (folder / QUARANTINE).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["item", "reason", "detail"])
        writer.writerows([one.name, one.reason, one.detail] for one in refused)


def check_refused(config: DataConfig, folder: Path, total: int, refused: Sequence[Outcome], kept: int) -> None:
    """Raise UserError if too much was rejected (duplicates do not count) or too little is left."""
    reasons = ", ".join(f"{count} {reason}" for reason, count in reasons_of(refused)) or "the others repeat them"
    details = folder / QUARANTINE
    if len(refused) > config.max_rejected * total:
        raise UserError(
            f"data.source {config.source}: {len(refused)} of {total} images rejected ({reasons}); "
            f"data.max_rejected allows {config.max_rejected:.0%}. Each is in {details}: mend them or allow more."
        )
    if kept < FEWEST:
        raise UserError(
            f"data.source {config.source}: {kept} of {total} images can be used ({reasons}); at least {FEWEST} are "
            f"needed. Each of the others is in {details}."
        )


def reasons_of(refused: Iterable[Outcome]) -> list[tuple[str, int]]:
    """Reason codes and how often each occurs, the most frequent first."""
    return Counter(str(one.reason) for one in refused).most_common()


def write_shards(config: DataConfig, source: Source, kept: Sequence[Kept], folder: Path, spool: BinaryIO) -> None:
    """Split the accepted items and write both splits and the index."""
    apart = source.heldout([k.item for k in kept], [k.outcome.sha256 for k in kept], config.num_heldout)
    heldout = [one for number, one in enumerate(kept) if number in apart]
    train = [one for number, one in enumerate(kept) if number not in apart][: config.num_images]
    splits = {
        name: write_split(folder, name, entries(chosen, spool), config.shard_images)
        for name, chosen in (("train", train), ("heldout", heldout))
    }
    write_index(folder, config.size_px, splits)
    log.info("%d training and %d held-out images written to %s", len(train), len(heldout), folder)


def entries(kept: Iterable[Kept], spool: BinaryIO) -> Iterator[Entry]:
    """The samples to write, their images read back from the spool."""
    for one in kept:
        spool.seek(one.offset)
        yield Entry(spool.read(one.size), one.outcome.extension, meta_of(one.outcome))


def meta_of(outcome: Outcome) -> dict[str, object]:
    """The description that goes with an image."""
    return {
        "caption": outcome.caption,
        "language": outcome.language,
        "source": outcome.name,
        "width": outcome.width,
        "height": outcome.height,
        "sha256": outcome.sha256,
        "phash": outcome.phash,
        "attributes": json.loads(outcome.attributes),
    }


def report(kept: Sequence[Kept], refused: Sequence[Outcome]) -> None:
    """Log what was left out and how many captions were cut."""
    for reason, count in reasons_of(refused):
        log.warning("%d left out: %s (see %s)", count, reason, QUARANTINE)
    cut = [one.outcome for one in kept if one.outcome.detail]
    if cut:
        log.warning("%d captions were too long and cut, first %s: %s", len(cut), cut[0].name, cut[0].detail)
