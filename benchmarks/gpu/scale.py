"""From which size on a GPU overtakes NumPy is a question with its own program: examples/scale_spiral.py."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from gpu.worker import ROOT, Note, environment, serve

# Few sizes, far apart: the program writes nothing before its end, so it must come to one.
ON_THE_DEVICE = "--backends numpy cupy --points 300 30000 3000000 --widths 10 128 1024 4096 --seconds 0.4 --longest 1"
REHEARSED = "--backends numpy {} --quick"


def measure(request: dict[str, Any], note: Note) -> None:
    stand_in = "torch" if importlib.util.find_spec("torch") else "array_api_strict"
    options = (REHEARSED.format(stand_in) if request["rehearsal"] else ON_THE_DEVICE).split()
    note(command=" ".join(["python examples/scale_spiral.py", *options]))
    with tempfile.TemporaryDirectory() as folder:
        if importlib.util.find_spec("matplotlib"):  # without it the program refuses --out, and only prints
            options += ["--out", folder]
        command = [sys.executable, str(ROOT / "examples" / "scale_spiral.py"), *options]
        done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True)
        record, picture = Path(folder, "scale_spiral.json"), Path(folder, "scale_spiral.png")
        note(text=done.stdout, scale_spiral=json.loads(record.read_text()) if record.exists() else None)
        if picture.exists() and "out" in request:
            note(picture=shutil.copy(picture, request["out"]) and picture.name)
    if done.returncode:
        raise RuntimeError(f"scale_spiral.py ended with status {done.returncode}: {done.stderr.strip()[-2000:]}")


def wrong(found: dict[str, Any]) -> str:
    """What is wrong with what was found: nothing, where the program came to its end."""
    return ""


if __name__ == "__main__":
    serve(measure)
