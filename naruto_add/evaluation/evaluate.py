"""The evaluate stage: draw, look, score, time; writes report.json and index.html."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from naruto_add.artifact import write_json
from naruto_add.config import Recipe
from naruto_add.data.shards import Shards
from naruto_add.errors import raise_all
from naruto_add.evaluation.examiner import open_easel, open_observer
from naruto_add.evaluation.generate import Prompts, Studio, label
from naruto_add.evaluation.hardware import describe_hardware
from naruto_add.evaluation.judge import SHIPPED
from naruto_add.evaluation.latency import latency
from naruto_add.evaluation.painters import Easel, FewStepPainter, GuidedPainter
from naruto_add.evaluation.plan import Cast, founding_orders, golden_orders, heldout_orders, shown_labels
from naruto_add.evaluation.progress import Meter, console_meter
from naruto_add.evaluation.report import Pictures, write_page
from naruto_add.evaluation.scores import Score, Scorer, timed
from naruto_add.evaluation.survey import Drawn, Seen, Setting, look
from naruto_add.models.load import load_components
from naruto_add.training.world import ALONE, World

REPORT = "report.json"


def evaluate(
    recipe: Recipe,
    student_path: Path,
    teacher_path: Path,
    base_path: str | Path,
    shards: Shards,
    work: Path,
    out: Path,
    meter: Meter | None = None,
    judge_path: Path = SHIPPED,
    world: World = ALONE,
) -> None:
    """Score the student beside teacher, base and floors; writes report.json and index.html into `out`.

    The three paths are diffusers folders (`base_path` also a name or hub id). What is drawn stays in `work`, so that
    the same call resumes. Called by all ranks of a `world`: each draws its share, and rank 0 does the rest. Raises
    UserError for models or weights that cannot be read.
    """
    check_counts(shards)
    observer = open_observer(recipe, judge_path)
    cast = load_cast(recipe, student_path, teacher_path, base_path, open_easel(recipe, shards, observer))
    setting = Setting(recipe, cast, shards, observer, work)
    drawn = draw(setting, meter or console_meter(), world)
    if drawn is None:
        return
    seen = look(setting, drawn)
    report = make_report(setting, seen, clock(setting))
    write_json(out / REPORT, report)
    shown = {name: drawn.heldout[name] for name in shown_labels(cast) if name in drawn.heldout}
    write_page(out, report, Pictures(drawn.golden, shown, seen.neighbours), shards, work.parent)


def check_counts(shards: Shards) -> None:
    """Distances between sets need two images on each side; raises UserError if there are fewer."""
    raise_all([
        f"{shards.path}: {shards.count(split)} {split} images, and an evaluation needs 2. Prepare more images."
        for split in ("train", "heldout")
        if shards.count(split) < 2
    ])  # fmt: skip


def load_cast(recipe: Recipe, student: Path, teacher: Path, base: str | Path, easel: Easel) -> Cast:
    """The three models, ready to draw."""
    scale, timesteps = recipe.evaluate.guidance_scale, recipe.distill.student_timesteps
    return Cast(
        student=FewStepPainter("student", load_components(student), easel, timesteps),
        teacher=GuidedPainter("teacher", load_components(teacher), easel, scale),
        base=GuidedPainter("base", load_components(base, recipe.teacher.revision), easel, scale),
        config=recipe.evaluate,
    )


def draw(setting: Setting, meter: Meter, world: World) -> Drawn | None:
    """Draw what is not on disk yet, with the other ranks; rank 0 gets all of it, the others nothing."""
    groups = [
        golden_orders(setting.cast, setting.recipe),
        heldout_orders(setting.cast, Prompts("heldout", setting.captions)),
        founding_orders(setting.cast, setting.founding_captions),
    ]
    orders = [order for group in groups for order in group]
    studio = Studio(setting.work / "images", setting.recipe.seed, setting.recipe.evaluate.batch_size)
    galleries = iter(studio.fill(orders, meter, world))
    if not world.leads:
        return None
    golden, heldout, founding = ({order.label: next(galleries) for order in group} for group in groups)
    return Drawn(heldout, golden, founding)


def clock(setting: Setting) -> dict[str, dict[str, Any]]:
    """The timed fields of every row: one picture of the first golden prompt."""
    repeats, prompt = setting.recipe.evaluate.latency_repeats, setting.recipe.prompts[0]
    return {
        label(painter, steps): timed(latency(painter, steps, prompt, repeats), painter.passes(steps))
        for painter, steps in setting.cast.timed
    }


def make_report(setting: Setting, seen: Seen, times: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The content of report.json."""
    eyes, judge = setting.observer.eyes, setting.observer.judge
    rows = score_rows(setting, seen, times)
    return {
        "scores": {name: row.to_json() for name, row in rows.items()},
        "memorisation": {name: asdict(found) for name, found in seen.memorised.items()},
        "extractors": {**eyes.describe(), "judge": None if judge is None else judge.card},
        "models": describe_models(setting.cast),
        "settings": describe_settings(setting, seen),
        "hardware": describe_hardware(eyes.device),
    }


def score_rows(setting: Setting, seen: Seen, times: dict[str, dict[str, Any]]) -> dict[str, Score]:
    """All rows: models, floors, the founding protocol, and what was only timed."""
    config, reference = setting.recipe.evaluate, label(*setting.cast.reference)
    scorer = Scorer(config.bootstrap, setting.recipe.seed, seen.real)
    teacher, founding_teacher = seen.rows[reference].all_features, seen.founding[reference].all_features
    rows = {}
    for name, observed in seen.rows.items():
        beside = None if name == reference else teacher
        scored = scorer.score(observed, teacher=beside, diversity=seen.diversity.get(name))
        rows[name] = Score(**scored, **times.get(name, {}))
    for name, observed in seen.founding.items():
        if name != reference:
            rows[name] = Score(**scorer.score(observed, teacher=founding_teacher, real=False))
    return rows | {name: Score(**fields) for name, fields in times.items() if name not in rows}


def describe_models(cast: Cast) -> dict[str, dict[str, Any]]:
    """Size and digest of each model."""
    return {
        painter.name: {
            "digest": painter.digest,
            "unet_parameters": sum(p.numel() for p in painter.components.unet.parameters()),
            "vae_parameters": sum(p.numel() for p in painter.components.vae.parameters()),
            "text_parameters": sum(p.numel() for p in painter.components.text_encoder.parameters()),
            "sampler": dict(painter.settings),
        }
        for painter in (cast.student, cast.teacher, cast.base)
    }


def describe_settings(setting: Setting, seen: Seen) -> dict[str, Any]:
    """What the scores depend on, beside the models."""
    recipe, shards = setting.recipe, setting.shards
    return {
        "recipe": recipe.name,
        "seed": recipe.seed,
        "size_px": shards.size_px,
        "prompts": list(recipe.prompts),
        "reference": "heldout",
        "n_reference": len(seen.real),
        "n_train": shards.count("train"),
        "teacher": label(*setting.cast.reference),
        "founding_n": len(setting.founding_captions),
        "founding_floor": label(*setting.cast.half),
        **asdict(recipe.evaluate),
    }
