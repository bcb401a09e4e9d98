"""What leaves the project: a plain diffusers folder with its model card."""
