"""Captions: cleaned, counted, cut; and captions for images that have none."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Protocol

from PIL import Image

from naruto_add.data.images import Reason, Rejected
from naruto_add.errors import UserError

CLIP_TOKENS = 75
"""What CLIP's text encoder takes, without its start and end tokens."""
BLIP = "Salesforce/blip-image-captioning-base"
"""The usual choice for `data.caption_model`."""
MAX_CHARACTERS = 10_000
"""Longer texts are cut before anything else looks at them."""

INVISIBLE = ("Cc", "Cf", "Cs", "Co")
"""Unicode categories: control, format, surrogate, private use."""
JOINERS = "\u200c\u200d"

Captioner = Callable[[Image.Image], str]


class Tokenizer(Protocol):
    """What is used of a transformers tokenizer."""

    model_max_length: int

    def tokenize(self, text: str) -> list[str]:
        """The tokens of a text, without start and end."""
        ...


def clean(text: str) -> str:
    """Unicode NFC, control and format characters removed, runs of whitespace made one space; raises Rejected if empty.

    Zero-width joiners are kept: some scripts are written with them.
    """
    normal = unicodedata.normalize("NFC", text[:MAX_CHARACTERS])
    kept = "".join(c for c in normal if c in JOINERS or c.isspace() or unicodedata.category(c) not in INVISIBLE)
    if not any(c.isalnum() for c in kept):
        raise Rejected(Reason.EMPTY_CAPTION, f"nothing readable in {text[:40]!r}")
    return re.sub(r"\s+", " ", kept).strip()


def count_tokens(text: str, tokenizer: Tokenizer | None) -> int:
    """Tokens without start and end; words where there is no tokenizer."""
    return len(text.split()) if tokenizer is None else len(tokenizer.tokenize(text))


def token_limit(limit: int | None, tokenizer: Tokenizer | None) -> int:
    """The most tokens a caption may have: the recipe's limit, else what the text encoder takes."""
    if limit is not None:
        return limit
    return CLIP_TOKENS if tokenizer is None else tokenizer.model_max_length - 2


def cut(text: str, limit: int, tokenizer: Tokenizer | None) -> str:
    """The most whole words of a text that fit into `limit` tokens (at least one word)."""
    words = text.split(" ")
    low, high = 1, len(words)
    while low < high:
        middle = (low + high + 1) // 2
        fits = count_tokens(" ".join(words[:middle]), tokenizer) <= limit
        low, high = (middle, high) if fits else (low, middle - 1)
    return " ".join(words[:low])


@lru_cache(maxsize=1)
def load_captioner(name: str) -> Captioner:
    """An image-to-text model: a folder or a hub id (in the hub's cache); greedy, one image at a time.

    One at a time, so that a caption depends on its image alone. Raises UserError if the model cannot be loaded.
    """
    from transformers import AutoModelForImageTextToText, AutoProcessor

    try:
        processor: Any = AutoProcessor.from_pretrained(name, trust_remote_code=False)
        model: Any = AutoModelForImageTextToText.from_pretrained(name, use_safetensors=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"data.caption_model {name}: not a transformers image-to-text model that can be loaded ({error}). "
            f"Give a folder, or a hub id such as {BLIP} while online."
        ) from error
    model.eval()

    def caption(image: Image.Image) -> str:
        inputs = processor(images=image, return_tensors="pt")
        tokens = model.generate(**inputs, max_new_tokens=40, do_sample=False, num_beams=1)
        return processor.batch_decode(tokens, skip_special_tokens=True)[0]

    return caption
