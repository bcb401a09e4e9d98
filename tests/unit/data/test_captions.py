from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naruto_add.data import captions
from naruto_add.data.captions import clean, count_tokens, cut, token_limit
from naruto_add.data.images import Reason, Rejected
from naruto_add.errors import UserError
from tests.tiny import MAX_TOKENS, tiny_tokenizer
from tests.unit.data.pictures import picture


def test_composed_and_decomposed_letters_become_equal() -> None:
    assert clean("lanc\u0327ant") == clean("lan\u00e7ant") == "lan\u00e7ant"


@pytest.mark.parametrize(
    ("raw", "cleaned"),
    [
        ("  two\n\tspaces \u00a0 here ", "two spaces here"),
        ("null\x00byte\x1b[31m", "nullbyte[31m"),
        ("right\u202eto left\ufeff", "rightto left"),
        ("zero \u200b width", "zero width"),
        ("सं\u200dधि", "सं\u200dधि"),
        ("忍者、夜の森で", "忍者、夜の森で"),
    ],
)
def test_what_cannot_be_seen_is_removed(raw: str, cleaned: str) -> None:
    assert clean(raw) == cleaned


@pytest.mark.parametrize("raw", ["", "   ", "\x00\x01", "...", "\u200b"])
def test_captions_without_words_are_refused(raw: str) -> None:
    with pytest.raises(Rejected) as caught:
        clean(raw)
    assert caught.value.reason == Reason.EMPTY_CAPTION


@given(st.text(min_size=1))
def test_cleaning_twice_changes_nothing(raw: str) -> None:
    try:
        once = clean(raw)
    except Rejected:
        return
    assert clean(once) == once
    assert "  " not in once and once == once.strip()


def test_tokens_are_counted_with_the_tokenizer_else_words() -> None:
    assert count_tokens("a ninja", tiny_tokenizer()) == 6  # one token a letter
    assert count_tokens("a ninja", None) == 2
    assert token_limit(None, tiny_tokenizer()) == MAX_TOKENS - 2
    assert token_limit(None, None) == captions.CLIP_TOKENS
    assert token_limit(9, tiny_tokenizer()) == 9


@given(st.lists(st.sampled_from(["a", "ninja", "in", "rain"]), min_size=1, max_size=40), st.integers(1, 30))
def test_the_most_whole_words_that_fit_are_kept(words: list[str], limit: int) -> None:
    text = " ".join(words)
    short = cut(text, limit, tiny_tokenizer())
    kept = len(short.split())
    assert text.startswith(short)
    assert kept == 1 or count_tokens(short, tiny_tokenizer()) <= limit
    assert kept == len(words) or count_tokens(" ".join(words[: kept + 1]), tiny_tokenizer()) > limit


def test_a_model_captions_what_has_no_caption(blip: Path) -> None:
    caption = captions.load_captioner(str(blip))
    found = caption(picture(0))
    assert set(found.split()) <= {"ninja", "fire", "forest", "moon", "rain"}
    assert found == caption(picture(0))


def test_a_folder_without_model_is_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.caption_model"):
        captions.load_captioner(str(tmp_path))
