"""What one does not have to take on trust: checks of one's own layers, and of whole training runs, on every backend."""

from martlet.testing.comparison import Comparison, compare_backends
from martlet.testing.portable import NotPortable, Portability, assert_portable

__all__ = ["Comparison", "NotPortable", "Portability", "assert_portable", "compare_backends"]
