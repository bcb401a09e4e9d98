"""Runs on S3 and what speaks like it: stages work in a local mirror, whose artifacts are sent and fetched."""
