"""The errors of this package."""


class TrainingError(Exception):
    """A text or a recipe that nothing can be trained on or with; the message says why and what to do."""


class RecipeError(TrainingError):
    """An option of a training that no model can have, or that this one has no room for."""


class TrainingInterrupted(KeyboardInterrupt):
    """A signal ended a training between two steps; the message says what is saved, and where."""
