"""Models: bases from diffusers folders, compact students, discriminator heads, frozen feature networks."""
