"""
What an installation weighs that was asked for nothing but ttsmux: run with its Python.

Others pay for each distribution more: in their images, in their audits, in what may break.
"""

from importlib.metadata import distributions
from pathlib import Path

MOST = 14
"""Distributions, ttsmux included."""
MEGABYTES = 9.0
"""Of all files but what Python compiles by itself."""
SEED = {"pip", "setuptools", "wheel"}


def weighed() -> dict[str, float]:
    """Return the megabytes of each distribution, but of those that any environment begins with."""
    found = {}
    for one in distributions():
        name = one.metadata["Name"]
        if name not in SEED:
            files = [Path(str(one.locate_file(file))) for file in one.files or ()]
            sizes = [p.stat().st_size for p in files if p.suffix != ".pyc" and p.is_file()]
            found[name] = sum(sizes) / 1e6
    return found


def main() -> None:
    found = weighed()
    for name, megabytes in sorted(found.items(), key=lambda item: -item[1]):
        print(f"{megabytes:6.2f} MB  {name}")
    print(f"{sum(found.values()):6.2f} MB  {len(found)} distributions")
    assert "ttsmux" in found, "it is installed"
    assert len(found) <= MOST, f"more than {MOST} distributions"
    assert sum(found.values()) <= MEGABYTES, f"more than {MEGABYTES:g} MB"


if __name__ == "__main__":
    main()
