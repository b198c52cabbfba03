"""A step is measured beside everything that could take it instead; each part of ``steps.py`` is a module here."""
