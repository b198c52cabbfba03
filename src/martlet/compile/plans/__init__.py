"""Plans: a step laid out in memory that is there already, as a flat list of calls.

Begin with ``plan.py``.  ``lower.py`` makes calls of operations, ``fast.py`` the quickest ones; ``calls.py`` walks
through them, ``script.py`` writes them as a function; ``state.py`` is the memory of what a step changes.  ``pieces.py``
and ``chunk.py`` keep large arrays and batches in the cache, on the threads of ``threads.py``; ``decide.py`` says when.
``elsewhere.py`` is the same for another library than NumPy, in the words of ``standard.py``.
"""
