"""naruto-add: train and serve few-step image generators. Importing it imports nothing heavy."""

__version__ = "0.1.0"
