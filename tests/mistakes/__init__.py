"""The mistakes, by family: tables of calls that cannot be right.

A row is a call, the exception it must raise, and the words that the message must hold: who complains, about
which argument, and for a wrong shape what came and what was expected.  To add a check to the library is to
add its row here; ``tests/test_errors.py`` makes every call on every backend.
"""

from mistakes import (
    creation,
    files,
    fit,
    functions,
    linear,
    losses,
    measures,
    nodes,
    normalization,
    optimizers,
    pictures,
    recordings,
    settings,
    stopping,
    trees,
    verbs,
    words,
)
from mistakes.row import Row

TABLES: dict[str, list[Row]] = {
    "settings": settings.SETTINGS,
    "creation": creation.CREATION,
    "forward": [*verbs.FORWARD, *linear.FORWARD, *normalization.FORWARD, *words.FORWARD, *nodes.FORWARD],
    "backward": [*verbs.BACKWARD, *linear.BACKWARD, *words.BACKWARD, *nodes.BACKWARD],
    "functions": functions.FUNCTIONS,
    "losses": losses.LOSSES,
    "optimizers": optimizers.OPTIMIZERS,
    "trees": trees.TREES,
    "steps": fit.STEPS,
    "fit": fit.FIT,
    "stopping": stopping.STOPPING,
    "measures": measures.MEASURES,
    "pictures": pictures.PICTURES,
    "files": files.FILES,
    "recordings": recordings.RECORDINGS,
}
