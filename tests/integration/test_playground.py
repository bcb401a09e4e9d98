"""The page in a real browser on a real server: wide and narrow, both languages, keyboard, and the axe check."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from tests.servers import Server

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="there is no Chromium on this machine (Debian: apt install chromium)"),
]
PROMPT = "Naruto meditating on a mountain under the sunset"
WIDE, NARROW = (1200, 900), (360, 740)
DRAWN_MS = 60_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])


def visit(browser: Browser, server: Server, size: tuple[int, int], locale: str, scheme: str) -> Page:
    """The page, with every script error and refused resource a failure."""
    page = browser.new_page(
        viewport={"width": size[0], "height": size[1]}, locale=locale, color_scheme=scheme, reduced_motion="reduce"
    )
    page.on("pageerror", lambda error: pytest.fail(f"script error: {error}"))
    page.on("console", lambda message: pytest.fail(message.text) if worth_failing(message) else None)
    page.set_default_timeout(20_000)
    page.goto(server.url)
    expect(page.locator("#digest")).not_to_have_text("…")
    return page


def worth_failing(message: ConsoleMessage) -> bool:
    """An error, but not a busy server's refusal: the page waits and asks again."""
    return message.type == "error" and "429" not in message.text


def axe_problems(page: Page) -> list[str]:
    """The serious findings of axe-core."""
    found = Axe().run(page).response["violations"]
    return [f"{each['id']}: {each['help']}" for each in found if each["impact"] in ("serious", "critical")]


@pytest.mark.parametrize(
    ("size", "locale", "scheme", "done"),
    [(WIDE, "en-GB", "light", r"Done in"), (NARROW, "fr-FR", "dark", r"Fait en")],
    ids=["wide", "narrow"],
)
def test_a_suggestion_becomes_a_picture(
    browser: Browser, one_server: Server, size: tuple[int, int], locale: str, scheme: str, done: str
) -> None:
    page = visit(browser, one_server, size, locale, scheme)
    page.locator("#chips button").first.click()
    expect(page.locator("#status")).to_have_text(re.compile(done), timeout=DRAWN_MS)
    image = page.locator("#student-frame img")
    expect(image).to_be_visible()
    assert image.evaluate("image => image.naturalWidth") == 32
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth"), "it scrolls sideways"
    assert axe_problems(page) == []
    page.close()


def test_by_keyboard_alone(browser: Browser, one_server: Server) -> None:
    page = visit(browser, one_server, WIDE, "en-GB", "dark")
    page.get_by_label("What shall be drawn?").focus()
    page.keyboard.type(PROMPT)
    page.keyboard.press("Control+Enter")
    expect(page.locator("#student-time")).to_have_text(re.compile(r"^4 steps"), timeout=DRAWN_MS)
    page.get_by_role("slider", name="Steps").focus()
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#student-time")).to_have_text(re.compile(r"^3 steps"), timeout=DRAWN_MS)
    page.keyboard.press("Home")
    expect(page.locator("#student-time")).to_have_text(re.compile(r"^1 steps"), timeout=DRAWN_MS)
    expect(page.locator("#gallery li")).to_have_count(3)
    page.close()


def test_teacher_beside_student_and_the_gallery(browser: Browser, one_server: Server) -> None:
    page = visit(browser, one_server, WIDE, "en-GB", "light")
    page.get_by_label("What shall be drawn?").fill(PROMPT)
    page.get_by_label("Show the teacher").check()
    expect(page.locator("#teacher-time")).to_have_text(re.compile(r"^25 steps · "), timeout=DRAWN_MS)
    expect(page.locator("#teacher-frame img")).to_be_visible()
    seed = page.get_by_role("spinbutton", name="Seed").input_value()
    page.get_by_role("button", name="Another seed").click()
    expect(page.get_by_role("spinbutton", name="Seed")).not_to_have_value(seed)
    expect(page.locator("#gallery li")).to_have_count(2, timeout=DRAWN_MS)
    with page.expect_download() as started:
        page.get_by_role("button", name=re.compile("^Download")).first.click()
    assert Path(started.value.path()).read_bytes().startswith(b"\x89PNG")
    page.get_by_role("button", name=re.compile("^Copy as curl")).first.click()
    expect(page.locator("#status")).to_have_text(re.compile("clipboard|curl -s http"))
    page.get_by_role("button", name=re.compile("^Open again")).last.click()
    expect(page.get_by_role("spinbutton", name="Seed")).to_have_value(seed)
    page.get_by_role("button", name="Passer en français").click()
    expect(page.get_by_role("spinbutton", name="Graine")).to_have_value(seed)
    page.get_by_role("button", name=re.compile("passer à")).click()
    assert page.evaluate("() => document.documentElement.dataset.theme") == "dark"
    assert axe_problems(page) == []
    page.close()
