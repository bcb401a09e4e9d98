"""The training core: players and their engines, the loop, checkpoints, guards, telemetry and previews."""
