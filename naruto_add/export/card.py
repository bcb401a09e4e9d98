"""The model card of a bundle: a README.md made of the student's manifest and the report, nothing written by hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2

from naruto_add.artifact import Manifest
from naruto_add.config import ExportConfig

CARD = "README.md"
TEMPLATE = "card.md.j2"
ROLES = {"distribution": "FD and KD", "perceptual": "perceptual and diversity", "judge": "accuracy"}


class Recognised(NamedTuple):
    """How a distillation method is known: as a tag of the hub, and in a sentence."""

    tag: str
    name: str


METHODS = {
    "add": Recognised(
        "adversarial-diffusion-distillation", "Adversarial Diffusion Distillation (Sauer et al., arXiv 2311.17042)"
    ),
    "ladd": Recognised(
        "latent-adversarial-diffusion-distillation",
        "Latent Adversarial Diffusion Distillation (Sauer et al., arXiv 2403.12015)",
    ),
    "lcm": Recognised(
        "latent-consistency-distillation", "latent consistency distillation (Luo et al., arXiv 2310.04378)"
    ),
    "output": Recognised(
        "knowledge-distillation", "regression onto the teacher's results (Luhman & Luhman, arXiv 2101.02388)"
    ),
}
"""The methods of `distill.method`."""


def write_card(
    folder: Path,
    config: ExportConfig,
    lineage: Mapping[str, Manifest],
    report: Mapping[str, Any],
    size_px: int,
    prompt: str,
) -> None:
    """Write README.md into `folder`; `lineage` holds the manifests of shards, teacher, student and report."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=False,  # Markdown, and every value is ours or the recipe's
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["figure"] = figure
    text = environment.get_template(TEMPLATE).render(
        **facts(lineage, report), config=config, size_px=size_px, prompt=prompt
    )
    (folder / CARD).write_text(text, encoding="utf-8")


def facts(lineage: Mapping[str, Manifest], report: Mapping[str, Any]) -> dict[str, Any]:
    """What the card says, from manifests and report alone."""
    student, teacher = lineage["student"].config["distill"], lineage["teacher"].config["teacher"]
    return {
        "version": lineage["student"].code,
        "method": METHODS[student.get("method", "add")],  # before there was a choice, it was add
        "most_steps": len(student["student_timesteps"]),
        "rows": sorted(report["scores"].items(), key=lambda row: row[0].startswith("floor/")),
        "extractors": list(named_extractors(report["extractors"])),
        "figures_note": note(report["scores"]),
        "source": lineage["shards"].config["data"]["source"],
        "provenance": [(name, manifest.digest) for name, manifest in lineage.items()],
        "base": f"{teacher['base']}{'@' + teacher['revision'] if teacher['revision'] else ''}",
        "size": student["size"],
        "parameters": f"{report['models']['student']['unet_parameters']:,}",
    }


def named_extractors(extractors: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The networks behind the scores, with the scores they serve."""
    return ((ROLES.get(role, role), {"name": role, **entry}) for role, entry in extractors.items() if entry)


def note(scores: Mapping[str, Mapping[str, Any]]) -> str:
    """Which rows are the student's, and on how many pictures they stand."""
    counts: Sequence[int] = sorted({row["n"] for row in scores.values() if row["n"] is not None})
    return f"On {' or '.join(map(str, counts))} pictures a row (N); a dash means that a score does not apply."


def figure(value: float | None) -> str:
    """A score in four digits; a dash where it does not apply."""
    if value is None:
        return "-"
    if isinstance(value, int):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
