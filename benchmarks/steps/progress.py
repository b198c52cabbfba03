"""A run of a quarter of an hour should show that it goes on: a bar where tqdm is and somebody looks, else lines."""

from __future__ import annotations

import sys
import time

from steps.turns import Say


def progress() -> Say:
    """A function that says where we are, on stderr."""
    start = time.monotonic()
    try:
        from tqdm import tqdm
    except ImportError:
        tqdm = None
    if tqdm is None or not sys.stderr.isatty():
        return lambda words: print(f"[{time.monotonic() - start:5.0f} s] {words}", file=sys.stderr, flush=True)
    bar = tqdm(bar_format="[{elapsed}, {n} done] {desc}", leave=False)

    def say(words: str) -> None:
        bar.set_description_str(words, refresh=False)
        bar.update()

    return say
