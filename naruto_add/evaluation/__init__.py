"""Scores, floors and pictures: what the student is worth, and how sure we are of it."""
