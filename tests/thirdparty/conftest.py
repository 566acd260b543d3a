"""As a third party's own repository would have it: its package can be imported."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "src"))
import warble.server  # noqa: F401 - and from here on it is found without the path

sys.path.pop(0)
