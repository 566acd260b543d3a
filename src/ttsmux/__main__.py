"""``python -m ttsmux``: the same as the command ``ttsmux``."""

from .cli import main

raise SystemExit(main())
