"""The parts of `python -m jobs.ablate`: what is varied, one training and its scores, the table."""
