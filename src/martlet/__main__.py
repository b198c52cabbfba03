"""``python -m martlet``: which array libraries this machine has, and whether martlet can use them."""

from __future__ import annotations

from martlet.backend import survey


def main() -> None:
    """Print a table of the backends: name, installed version, devices, usable or why not."""
    rows = [("backend", "version", "devices", "usable"), *((n, v, d, why or "yes") for n, v, d, why in survey())]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for name, version, devices, usable in rows:
        print(f"{name:<{widths[0]}}  {version:<{widths[1]}}  {devices:<{widths[2]}}  {usable}")


if __name__ == "__main__":
    main()
