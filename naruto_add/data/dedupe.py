"""Near-duplicates by perceptual hash, and the split into training and held-out images."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

HASH_BITS = 64


def duplicates(hashes: Sequence[int], max_bits: int) -> dict[int, int]:
    """Which items are near-duplicates of an earlier kept one: {number: number of the first kept match}.

    No two kept hashes differ in at most `max_bits` bits. Two hashes that do so agree wholly in one of `max_bits + 1`
    groups of bits (pigeonhole), so only kept hashes that share a group's value are compared.
    """
    masks = bit_groups(min(max_bits + 1, HASH_BITS))
    buckets: list[dict[int, list[int]]] = [defaultdict(list) for _ in masks]
    found: dict[int, int] = {}
    for number, value in enumerate(hashes):
        near = {
            other
            for mask, bucket in zip(masks, buckets, strict=True)
            for other in bucket.get(value & mask, ())
            if (hashes[other] ^ value).bit_count() <= max_bits
        }
        if near:
            found[number] = min(near)
            continue
        for mask, bucket in zip(masks, buckets, strict=True):
            bucket[value & mask].append(number)
    return found


def bit_groups(groups: int) -> list[int]:
    """Masks of `groups` disjoint sets of bits, interleaved: neighbouring bits of an image hash are correlated."""
    return [sum(1 << bit for bit in range(group, HASH_BITS, groups)) for group in range(groups)]


def heldout(contents: Sequence[str], wanted: int) -> set[int]:
    """The numbers of the items kept out of training: those whose content hashes are smallest.

    At most a third of all. It depends on the contents alone: renaming or reordering changes nothing, and one more image
    changes at most one place.
    """
    ranked = sorted(range(len(contents)), key=lambda number: (contents[number], number))
    return set(ranked[: min(wanted, len(contents) // 3)])
