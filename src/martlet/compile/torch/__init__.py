"""PyTorch: the record of a step, replayed as calls of PyTorch.  Begin with ``stepper.py``."""
