"""The whole test suite of somebody else's adapter."""

from warble import Warble
from warble.server import WarbleProvider

from ttsmux.testing import AdapterContract

ID = "01234567-89ab-cdef-0123-456789abcdef"


class TestWarble(AdapterContract):
    adapter = Warble()
    server = WarbleProvider
    frames = (
        {"hi": True},
        {"words": [["so", 0, 1600], ["é😀", 1600, 4800]], "id": ID},
        bytes.fromhex(ID.replace("-", "")) + bytes(range(60)),
        {"quiet": True, "id": ID},
        {"gone": True, "id": ID},
        {"oops": "out of breath", "id": ID},
        {"oops": "out of breath"},
    )
