"""Rewriting: a program becomes another one that gives the same numbers with less work, or for fewer rows.

Begin with ``rewrite.py``.  ``flat.py`` makes one array of many, ``labels.py``, ``means.py`` and ``affine.py`` put fewer
operations in the place of more; ``rows.py`` finds where the samples are, and ``cut.py`` cuts a step along them.
"""
