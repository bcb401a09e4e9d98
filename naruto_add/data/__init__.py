"""Captioned images to verified shards, and shards to training batches."""
