"""The ablation's rows: per-seed values, means, intervals, paired differences; as JSON, Markdown and a chart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple

from jobs.ablation.variants import RECIPE, Variant
from naruto_add.export.card import figure

CONFIDENCE = 0.95
Cells = Mapping[str, Mapping[int, Mapping[str, Any]]]
"""Variant -> seed -> what `cells.cell` gave."""
Interval = list[float] | None


class Measure(NamedTuple):
    """A score of report.json, its heading, and whether more of it is better."""

    name: str
    heading: str
    more: bool


MEASURES = (
    Measure("fd_real", "FD real", False),
    Measure("prompt_accuracy", "accuracy", True),
    Measure("diversity", "diversity", True),
)
BETTER, WORSE = "\N{BLACK UP-POINTING TRIANGLE}", "\N{BLACK DOWN-POINTING TRIANGLE}"
LEGEND = (
    "Mean over the seeds, in brackets its 95 % interval (Student's t over seeds; of one seed: bootstrap over its "
    f"pictures). {BETTER} better, {WORSE} worse than the row that it is compared with: the 95 % interval of the paired "
    "differences, seed by seed, does not hold 0. FD real: distance to held-out real images, less is better."
)
OWN_JUDGE = "its heads look with the network that scores: its FD is not comparable"
PANEL_INCHES, ROW_INCHES, MARGIN_INCHES = 3.4, 0.24, 0.8


def make_row(variant: Variant, cells: Cells, own_judge: bool) -> dict[str, Any]:
    """One variant of ablation.json."""
    mine = cells[variant.name]
    seconds = [found["seconds"] for found in mine.values()]
    labels = next(iter(mine.values()))["rows"]
    return {
        "variant": variant.name,
        "question": variant.question,
        "changes": dict(variant.changes),
        "beside": variant.beside,
        "note": OWN_JUDGE if own_judge else None,
        "seeds": list(mine),
        "images": next(iter(mine.values()))["images"],
        "seconds": {"values": seconds, "mean": None if None in seconds else fmean(seconds)},
        "unet_parameters": next(iter(mine.values()))["unet_parameters"],
        "scores": {label: scores(variant, cells, label) for label in labels},
    }


def scores(variant: Variant, cells: Cells, label: str) -> dict[str, Any]:
    """All measures of a variant at one step count; those that do not apply are None."""
    return {measure.name: score(variant, cells, label, measure.name) for measure in MEASURES}


def score(variant: Variant, cells: Cells, label: str, name: str) -> dict[str, Any] | None:
    """A measure's values by seed, their mean, its interval, and the differences from the row that it is beside."""
    mine = {seed: found["rows"][label] for seed, found in cells[variant.name].items()}
    theirs = {seed: found["rows"].get(label, {}) for seed, found in cells.get(variant.beside, {}).items()}
    values = {seed: row[name] for seed, row in mine.items()}
    if None in values.values():
        return None
    shared = [seed for seed in values if theirs.get(seed, {}).get(name) is not None and variant.name != RECIPE]
    differences = [values[seed] - theirs[seed][name] for seed in shared]
    return {
        "values": list(values.values()),
        "mean": fmean(values.values()),
        "interval": over_seeds(list(values.values())) or list(next(iter(mine.values()))[f"{name}_interval"]),
        "interval_over": "seeds" if len(values) > 1 else "pictures",
        "difference": {"mean": fmean(differences), "interval": over_seeds(differences)} if differences else None,
    }


def over_seeds(values: Sequence[float]) -> Interval:
    """The 95 % interval of the mean by Student's t; None for fewer than two values."""
    from scipy.stats import t

    if len(values) < 2:
        return None
    half = float(t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)) * stdev(values) / len(values) ** 0.5
    return [fmean(values) - half, fmean(values) + half]


def verdict(found: Mapping[str, Any] | None, more: bool) -> str:
    """BETTER, WORSE, or nothing where the difference may be chance."""
    difference = None if found is None else found["difference"]
    if difference is None or difference["interval"] is None:
        return ""
    low, high = difference["interval"]
    if low <= 0 <= high:
        return ""
    return BETTER if (difference["mean"] > 0) == more else WORSE


def columns(record: Mapping[str, Any]) -> list[tuple[str, Measure]]:
    """Step counts and measures, in the order of the table."""
    return [(label, measure) for label in record["rows"][0]["scores"] for measure in MEASURES]


def markdown(record: Mapping[str, Any]) -> str:
    """The table by question, then the teacher and the floors."""
    heads = [f"{measure.heading} @{steps_of(label)}" for label, measure in columns(record)]
    lines = [f"| variant | {' | '.join(heads)} | weights | images | seconds |", "|---|" + "---:|" * (len(heads) + 3)]
    question = ""
    for row in record["rows"]:
        if row["question"] != question:
            question = row["question"]
            lines.append(f"| *{question}* |" + " |" * (len(heads) + 3))
        lines.append(line_of(row, record))
    lines += [yardstick(name, row, record) for name, row in record["yardsticks"]["rows"].items()]
    return "\n".join([describe(record), "", *lines, "", LEGEND, *notes(record)]) + "\n"


def line_of(row: Mapping[str, Any], record: Mapping[str, Any]) -> str:
    """A variant's line."""
    cells = [cell_text(row["scores"][label][measure.name], measure.more) for label, measure in columns(record)]
    name = row["variant"] if row["beside"] == RECIPE else f"{row['variant']} (beside {row['beside']})"
    pace = [figure(row["unet_parameters"] / 1e6) + " M", str(row["images"]), figure(row["seconds"]["mean"])]
    return f"| {name} | {' | '.join([*cells, *pace])} |"


def cell_text(found: Mapping[str, Any] | None, more: bool) -> str:
    """Such as `1,480 [1,408, 1,562] ▲`."""
    if found is None:
        return figure(None)
    low, high = found["interval"]
    return f"{figure(found['mean'])} [{figure(low)}, {figure(high)}] {verdict(found, more)}".rstrip()


def yardstick(name: str, row: Mapping[str, Any], record: Mapping[str, Any]) -> str:
    """A line of the teacher or a floor, which has one step count: its own column's, or else the first's."""
    labels = list(record["rows"][0]["scores"])
    own = next((label for label in labels if steps_of(label) == steps_of(name)), labels[0])
    cells = [figure(row[measure.name] if label == own else None) for label, measure in columns(record)]
    return f"| {name} | {' | '.join([*cells, *[figure(None)] * 3])} |"


def steps_of(label: str) -> str:
    """The 4 of "student@4"."""
    return label.partition("@")[2]


def describe(record: Mapping[str, Any]) -> str:
    """What was trained and how it was scored."""
    equal = "equal training time" if record["equal"] == "time" else "equally many images"
    seeds, distance = ", ".join(map(str, record["seeds"])), record["yardsticks"]["extractors"]["distribution"]["name"]
    return (
        f"Ablation of recipe `{record['recipe']}`: {equal}, {record['images']} images for the recipe itself, seeds "
        f"{seeds}; {record['num_images']} pictures a row; FD: {distance}."
    )


def notes(record: Mapping[str, Any]) -> list[str]:
    """What a reader must know of single rows."""
    said = [f"- `{row['variant']}`: {row['note']}." for row in record["rows"] if row["note"]]
    said += [
        f"- `{each['variant']}`, seed {each['seed']}, has no student: {each['why']}" for each in record["collapsed"]
    ]
    return ["", *said] if said else []


def draw(record: Mapping[str, Any], path: Path) -> None:
    """A row of panels for each step count: a point with its interval for each variant, the recipe's mean dashed."""
    from matplotlib.figure import Figure

    rows, labels = record["rows"], list(record["rows"][0]["scores"])
    size = (PANEL_INCHES * len(MEASURES), len(labels) * (MARGIN_INCHES + ROW_INCHES * len(rows)))
    drawing = Figure(figsize=size, layout="constrained")
    axes = drawing.subplots(len(labels), len(MEASURES), sharey=True, squeeze=False)
    for axis, (label, measure) in zip(axes.flat, columns(record), strict=True):
        for place, row in enumerate(rows):
            draw_point(axis, place, row["scores"][label][measure.name], measure.more)
        own = next((row["scores"][label][measure.name] for row in rows if row["variant"] == RECIPE), None)
        if own is not None:
            axis.axvline(own["mean"], color="#777777", linewidth=1, linestyle="--")
        axis.set_title(f"{measure.heading} {label}, {'more' if measure.more else 'less'} is better", fontsize=8)
        axis.set_yticks(range(len(rows)), [row["variant"] for row in rows], fontsize=8)
        axis.margins(y=0.5 / len(rows))
        axis.tick_params(axis="x", labelsize=7)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0][0].invert_yaxis()
    drawing.savefig(path, dpi=110)


def draw_point(axis: Any, place: int, found: Mapping[str, Any] | None, more: bool) -> None:
    """One variant in one panel, green or red where it differs from what it is beside."""
    if found is None:
        return
    colour = {BETTER: "#2e7d5b", WORSE: "#b3392f"}.get(verdict(found, more), "#4a6fa5")
    errors = [[max(0.0, found["mean"] - found["interval"][0])], [max(0.0, found["interval"][1] - found["mean"])]]
    axis.errorbar(found["mean"], place, xerr=errors, fmt="o", color=colour, markersize=4, linewidth=1)
    axis.plot(found["values"], [place] * len(found["values"]), "|", color=colour, markersize=6)
