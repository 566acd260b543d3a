"""Frames survive pipes that give less than was asked for."""

import io

from hypothesis import given
from hypothesis import strategies as st

from ttsmux.simulate.engines.frames import Reply, pack, read_reply


@given(st.binary(max_size=300), st.integers(1, 20))
def test_frames_are_read_in_pieces(body: bytes, size: int):
    """However short the reads, the frame is whole; after the last there is None."""
    pipe = io.BytesIO(pack(Reply(version="1"), body) + pack(Reply(error="é")))

    def read(most: int) -> bytes:
        return pipe.read(min(most, size))

    assert read_reply(read) == ({"version": "1"}, body)
    assert read_reply(read) == ({"error": "é"}, b"")
    assert read_reply(read) is None


@given(st.data())
def test_a_frame_that_breaks_off_is_no_frame(data: st.DataObject):
    """A worker that dies while it writes has not answered."""
    frame = pack(Reply(version="1"), b"sound")
    cut = data.draw(st.integers(0, len(frame) - 1))
    assert read_reply(io.BytesIO(frame[:cut]).read) is None
