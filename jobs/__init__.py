"""Entry points: `python -m jobs.NAME` is what `ray job submit` runs, and what the verbs of `naruto-add` call.

Thin: resources in, library call, artifact out. Importing this imports nothing heavy.
"""
