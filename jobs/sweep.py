"""A sweep of a run: what decides it, its trials and their folders."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from jobs.stages import distill_config, work_folder
from naruto_add import artifact
from naruto_add.artifact import Artifact, canonical, sha256_text
from naruto_add.config import Recipe
from naruto_add.sweep.ledger import Ledger
from naruto_add.sweep.population import Lineage, Pbt
from naruto_add.sweep.rungs import Halving
from naruto_add.sweep.space import Space, recipe_of
from naruto_add.sweep.trials import Trial
from naruto_add.training.pace import total_images

LEDGER = "ledger.jsonl"


@dataclass(frozen=True)
class Sweep:
    """All that decides a sweep; ASHA's but for the number of its trials: with more of them it goes on where it was."""

    recipe: Recipe
    run: Path
    space: Space
    rungs: tuple[int, ...]
    search: Halving | Pbt
    teacher: Artifact
    shards: Artifact

    @property
    def parents(self) -> dict[str, Artifact]:
        """What students are made from."""
        return {"teacher": self.teacher, "shards": self.shards}

    @property
    def measuring(self) -> dict[str, Any]:
        """What decides a student's distances beside the student."""
        scored = self.recipe.evaluate
        return {
            "rungs": list(self.rungs),
            "pictures": self.recipe.distill.measure_pictures,
            "survey_pictures": self.recipe.distill.survey_pictures,
            "steps": self.recipe.export.steps,
            "student_steps": list(scored.student_steps),
            "extractor": scored.extractor,
            "weights": scored.weights,
        }

    @property
    def config(self) -> dict[str, Any]:
        """As it goes into the artifact's key."""
        search = asdict(self.search) if isinstance(self.search, Halving) else {"pbt": asdict(self.search)}
        space = {"space": self.space.to_json(), **search, "measuring": self.measuring}
        return distill_config(self.recipe) | space

    @property
    def key(self) -> str:
        """The sweep's, whatever the number of trials of ASHA."""
        return artifact.plan("sweep", self.config, self.parents).key

    @property
    def work(self) -> Path:
        """Where the ledger is."""
        return work_folder(self.run, "sweep", self.key).resolve()

    @property
    def ledger(self) -> Ledger:
        """As it is on disk."""
        reduction = self.search.reduction if isinstance(self.search, Halving) else None
        return Ledger(self.work / LEDGER, self.rungs, reduction)

    def student_work(self, recipe: Recipe) -> Path:
        """Where the distill stage would train the student of this recipe."""
        return work_folder(self.run, "distill", self.student_key(recipe))

    def student_key(self, recipe: Recipe) -> str:
        """The key of this recipe's student."""
        return artifact.plan("student", distill_config(recipe), self.parents).key

    def drawn(self, count: int) -> list[dict[str, Any]]:
        """What the trials begin with: one with the recipe's own settings, then draws from the space."""
        return [{}, *self.space.draw(count - 1, self.recipe.seed)]

    def trials(self, count: int) -> list[Trial]:
        """The students to train where each keeps its settings; other sweeps may go on with them."""
        return [self.alone(number, settings) for number, settings in enumerate(self.drawn(count))]

    def alone(self, number: int, settings: dict[str, Any]) -> Trial:
        """A trial that keeps its settings."""
        key = [self.student_key(recipe_of(self.recipe, settings)), self.measuring]
        return self._trial(number, settings, key, self.rungs, ())

    def member(self, number: int, lineage: Lineage, images: int) -> Trial:
        """A trial of a population on its way to a rung, in a folder that no other sweep and no other lineage has."""
        key = [self.key, [asdict(leg) for leg in lineage]]
        return self._trial(number, lineage[-1].settings, key, (images,), lineage)

    def _trial(
        self, number: int, settings: dict[str, Any], key: list[Any], rungs: tuple[int, ...], lineage: Lineage
    ) -> Trial:
        from naruto_add.on_ray.train import rooted

        recipe = recipe_of(self.recipe, settings)
        measured = replace(recipe.distill, measure_images=total_images(recipe.distill.optim))  # and at every rung
        work = work_folder(self.run, "trial", sha256_text(canonical(key))).resolve()
        return Trial(
            number, settings, rooted(replace(recipe, distill=measured)), self.teacher.path.resolve(),
            self.shards.path.resolve(), work, rungs, lineage,
        )  # fmt: skip
