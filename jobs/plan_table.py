"""The plan of a run as tables."""

from __future__ import annotations

from dataclasses import fields

from rich.console import Console
from rich.table import Table

from naruto_add.plan.estimate import Plan, StagePlan
from naruto_add.plan.memory import Parts

GIB = 2**30


def show(plan: Plan, screen: Console) -> None:
    """All tables, then what they assume."""
    where = f"{plan.gpus} GPUs" if plan.gpus else f"{plan.workers} workers on processors"
    screen.print(f"Recipe {plan.recipe}: base {plan.base}, {where}, {plan.precision}. Nothing has been started.\n")
    screen.print(sizes("Parameters", {name: f"{count:,}" for name, count in plan.parameters.items()}))
    for name, stage in plan.stages.items():
        screen.print(memory_table(name, stage))
    screen.print(pace_table(plan))
    total = sum(plan.storage.values())
    screen.print(sizes("Storage, GB", {k: f"{v / 1e9:,.2f}" for k, v in {**plan.storage, "in all": total}.items()}))
    screen.print("Assumptions")
    for line in plan.assumptions:
        screen.print(f"- {line}", markup=False, highlight=False)


def sizes(title: str, rows: dict[str, str]) -> Table:
    """Names and numbers."""
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def memory_table(name: str, stage: StagePlan) -> Table:
    """One row a part, one column a ZeRO stage; the recipe's is marked."""
    title = f"{name}: GiB a GPU, micro-batches of {stage.micro_batch} (*: the recipe)"
    table = Table(title=title, title_justify="left")
    table.add_column("part")
    for zero in stage.memory:
        table.add_column(f"ZeRO {zero}{'*' * (zero == stage.zero_stage)}", justify="right")
    for part in fields(Parts):
        table.add_row(part.name, *(gib(getattr(parts, part.name)) for parts in stage.memory.values()))
    table.add_row("in all", *(gib(parts.total) for parts in stage.memory.values()), style="bold")
    if stage.largest_micro_batch is not None:
        table.add_row("largest micro-batch", *(str(n or "none fits") for n in stage.largest_micro_batch.values()))
    return table


def pace_table(plan: Plan) -> Table:
    """Operations, time and cost of the two trainings."""
    table = Table(title="Time and cost", title_justify="left")
    for heading in ("stage", "images", "TFLOP an image", "images/s", "s per 1,000 images", "sending", "hours", "cost"):
        table.add_column(heading, justify="left" if heading == "stage" else "right")
    for name, stage in plan.stages.items():
        table.add_row(name, f"{stage.images:,}", f"{stage.flops_per_image / 1e12:,.3g}", *paces(stage))
    return table


def paces(stage: StagePlan) -> list[str]:
    """What is known of a stage's pace; dashes for the rest."""
    if stage.pace is None:
        return ["-"] * 5
    pace = stage.pace
    sending = "-" if pace.exchange_share is None else f"{pace.exchange_share:.1%}"
    cost = "-" if pace.cost is None else f"{pace.cost:,.2f}"
    return [f"{pace.images_per_s:,.3g}", f"{pace.seconds_per_1000_images:,.1f}", sending, f"{pace.hours:,.1f}", cost]


def gib(size: int) -> str:
    """Bytes in GiB."""
    return f"{size / GIB:,.3f}"
