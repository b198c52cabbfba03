"""What one does not have to take on trust: checks of one's own layers and losses, and of whole training runs."""

from martlet.testing.comparison import Comparison, compare_backends
from martlet.testing.gradients import check_gradients
from martlet.testing.portable import NotPortable, Portability, assert_portable
from martlet.testing.report import GradientReport, WrongGradient

__all__ = [
    "Comparison",
    "GradientReport",
    "NotPortable",
    "Portability",
    "WrongGradient",
    "assert_portable",
    "check_gradients",
    "compare_backends",
]
