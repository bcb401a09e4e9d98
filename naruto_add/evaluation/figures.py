"""Figures as the page shows them: rounded, grouped, compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from naruto_add.evaluation import charts

Scores = Mapping[str, Mapping[str, Any]]
NOTHING = "\N{EN DASH}"


@dataclass(frozen=True)
class Headline:
    """The comparison that the page opens with."""

    student: str
    """The student at its most steps."""
    teacher: str
    """The teacher whose pictures others are compared with."""
    slow: str
    """The teacher at the founding report's number of steps."""
    steps: int
    slow_steps: int
    speedup: float
    closeness: float
    """fd_real of the student as a multiple of the teacher's."""
    size: float
    """Parameters of the student's UNet as a share of the teacher's."""


@dataclass(frozen=True)
class Group:
    """Rows of the table that belong together."""

    title: str
    rows: Scores


@dataclass(frozen=True)
class Phases:
    """Where the time of one picture goes, in percent."""

    name: str
    total_s: float
    text: float
    unet: float
    decode: float


def headline(report: Mapping[str, Any]) -> Headline:
    """Student against teacher, in a few numbers."""
    scores, settings, models = report["scores"], report["settings"], report["models"]
    steps, slow_steps = max(settings["student_steps"]), settings["latency_steps"]
    student, teacher, slow = f"student@{steps}", settings["teacher"], f"teacher@{slow_steps}"
    return Headline(
        student,
        teacher,
        slow,
        steps,
        slow_steps,
        speedup=scores[slow]["latency_s"] / scores[student]["latency_s"],
        closeness=scores[student]["fd_real"] / scores[teacher]["fd_real"],
        size=models["student"]["unet_parameters"] / models["teacher"]["unet_parameters"],
    )


def groups(scores: Scores) -> list[Group]:
    """The rows of the table, by who drew the pictures, most steps first."""
    titles = {
        "student@": "The student",
        "teacher@": "Its teacher, with guidance",
        "base@": "The base before fine-tuning, with guidance",
        "floor/": "Floors: what the same scores give where nothing is to be told apart",
        "legacy/": "The founding report\N{RIGHT SINGLE QUOTATION MARK}s protocol, and its own floor",
    }
    found = {prefix: [name for name in scores if name.startswith(prefix)] for prefix in titles}
    return [
        Group(titles[prefix], {name: scores[name] for name in sorted(names, key=most_steps_first)})
        for prefix, names in found.items()
        if names
    ]


def most_steps_first(name: str) -> int:
    """A sort key: minus the steps of "model@steps"; other rows keep their order."""
    _, _, steps = name.partition("@")
    return -int(steps) if steps else 0


def quality_chart(report: Mapping[str, Any]) -> str:
    """fd_real against seconds a picture, with the floors as levels."""
    scores = report["scores"]
    series = [quality_series(scores, model) for model in ("teacher", "student", "base")]
    levels = [charts.Mark(0, scores[name]["fd_real"], name) for name in ("floor/real", "floor/autoencoder")]
    title = f"{report['extractors']['distribution']['name']} to real images"
    return charts.scatter(series, levels, "seconds for one picture (logarithmic)", title)


def quality_series(scores: Scores, model: str) -> charts.Series:
    """A model at all its step counts, fastest first."""
    rows = {name: row for name, row in scores.items() if name.startswith(f"{model}@") and row["fd_real"] is not None}
    marks = [
        charts.Mark(row["latency_s"], row["fd_real"], name, tuple(row["fd_real_interval"]))
        for name, row in rows.items()
    ]
    return charts.Series(model, sorted(marks, key=lambda mark: mark.x), names_below=model == "student")


def phases(scores: Scores) -> list[Phases]:
    """The time of every timed row, split; slowest first."""
    timed = [(name, row["latency_s"], row["latency_split"]) for name, row in scores.items() if row["latency_split"]]
    found = [
        Phases(name, total, *(100 * split[part] / total for part in ("text_s", "unet_s", "decode_s")))
        for name, total, split in timed
        if not name.startswith("base@")
    ]
    return sorted(found, key=lambda one: -one.total_s)


def figure(value: float | None) -> str:
    """Three significant digits, or a dash for what does not apply."""
    if value is None:
        return NOTHING
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:#.3g}".rstrip(".")


def seconds(value: float | None) -> str:
    """A duration in ms or s."""
    if value is None:
        return NOTHING
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.2f} s"


def percent(value: float | None) -> str:
    """A share in percent."""
    return NOTHING if value is None else f"{100 * value:.0f} %"


def count(value: int | None) -> str:
    """A whole number with thin separators."""
    return NOTHING if value is None else f"{value:,}"


def shortened(name: str) -> str:
    """A score's name without its network: "Frechet distance (x)" -> "Frechet distance"."""
    return name.partition(" (")[0]


FILTERS = {"figure": figure, "seconds": seconds, "percent": percent, "count": count, "shortened": shortened}
"""What the template calls them."""
