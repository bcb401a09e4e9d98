"""Sweeps over a recipe's distillation: the space as data, trials, who goes on, and what came of it. Without Ray."""
