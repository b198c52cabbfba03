"""CuPy: the record of a step, replayed as few fused kernels in one CUDA graph.  Begin with ``stepper.py``."""
