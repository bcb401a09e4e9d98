"""The mathematics of diffusion: schedules, losses and samplers, as pure functions."""
