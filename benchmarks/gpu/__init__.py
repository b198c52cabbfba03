"""A report is made of parts, and each part of ``gpu_report.py`` is a module here that can also be read alone."""
