"""The recorder: a function is called with arrays that have no numbers, and what it does with them is written down.

Begin with ``recording.py``; ``recorded.py`` is the array without numbers, ``namespace.py`` what it answers to whoever
asks for its namespace, with the functions of ``noting.py``, ``rearranging.py`` and ``creating.py``; ``tape.py`` holds
what has been noted.
"""
