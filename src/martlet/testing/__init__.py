"""What the library proves itself with, for layers, losses and models of your own."""

from martlet.testing.gradients import check_gradients
from martlet.testing.report import GradientReport, WrongGradient

__all__ = ["GradientReport", "WrongGradient", "check_gradients"]
