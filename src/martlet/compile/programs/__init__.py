"""Programs: what a recorded step is made of.  A program is a list of nodes; a node is one operation of the table.

Begin with ``program.py`` and ``node.py``; ``ops.py`` is the table, ``layout.py``, ``rules.py`` and ``arrangements.py``
say what each result looks like, ``cost.py`` what it costs, ``drawing.py`` prints it.
"""
