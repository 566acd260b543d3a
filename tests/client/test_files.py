"""Sound on disk: whole or not at all."""

import os
import stat
import sys
import wave
from pathlib import Path

import pytest

from ttsmux.audio import AudioFormat, wav
from ttsmux.client.files import WavFile
from ttsmux.errors import ConfigError

PCM = AudioFormat.parse("pcm_24000")
MULAW = AudioFormat.parse("mulaw_8000")


def fails(path: Path, error: BaseException) -> None:
    """Leave a file by *error*, with half a speech in it."""
    with WavFile(path, PCM) as file:
        file.write(b"\1\2")
        raise error


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    """Until then there is only a hidden one beside it."""
    path = tmp_path / "speech.wav"
    with WavFile(path, PCM) as file:
        file.write(b"\1\2" * 100)
        assert not path.exists()
        [beside] = tmp_path.iterdir()
        assert beside.name.startswith(".speech.wav.") and beside.name.endswith(".part")
        file.write(b"\3\4" * 100)
    assert [found.name for found in tmp_path.iterdir()] == ["speech.wav"]
    assert path.read_bytes() == wav(PCM, b"\1\2" * 100 + b"\3\4" * 100)
    with wave.open(str(path)) as read:
        assert read.getnframes() == 200


@pytest.mark.parametrize("size", [0, 1, 2, 161])
def test_a_file_written_in_pieces_is_the_file_written_at_once(tmp_path: Path, size: int) -> None:
    """Of odd sizes too."""
    path = tmp_path / "speech.wav"
    with WavFile(str(path), MULAW) as file:
        for _ in range(size):
            file.write(b"\xff")
    assert path.read_bytes() == wav(MULAW, b"\xff" * size)


@pytest.mark.parametrize("name", ["speech.mp3", "speech.OGG", "speech.raw"])
def test_no_wav_is_called_anything_else(tmp_path: Path, name: str) -> None:
    """A player that goes by the name would not play it, and nothing would say why."""
    with pytest.raises(ConfigError, match=r"ends with \.wav"):
        WavFile(tmp_path / name, PCM)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["speech", "speech.WAV", "speech.v2", "speech.wave"])
def test_any_other_name_will_do(tmp_path: Path, name: str) -> None:
    with WavFile(tmp_path / name, PCM) as file:
        file.write(b"\1\2")
    assert (tmp_path / name).read_bytes() == wav(PCM, b"\1\2")


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, SystemExit])
def test_after_an_exception_there_is_no_file(tmp_path: Path, kind: type[BaseException]) -> None:
    """Half a speech is not mistaken for one, and nothing is left lying about."""
    with pytest.raises(kind):
        fails(tmp_path / "speech.wav", kind())
    assert list(tmp_path.iterdir()) == []


def test_after_an_exception_the_file_that_was_there_is_there(tmp_path: Path) -> None:
    """Untouched."""
    path = tmp_path / "speech.wav"
    path.write_bytes(b"before")
    with pytest.raises(ValueError, match="no"):
        fails(path, ValueError("no"))
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_was_there_is_replaced_at_once(tmp_path: Path) -> None:
    """A reader sees the old one or the new one."""
    path = tmp_path / "speech.wav"
    path.write_bytes(b"before")
    with WavFile(path, PCM) as file:
        file.write(b"\1\2")
        assert path.read_bytes() == b"before"
    assert path.read_bytes() == wav(PCM, b"\1\2")


def test_a_file_that_cannot_be_put_in_its_place_is_not_left_beside_it(tmp_path: Path) -> None:
    """The error is the caller's, the rubbish is not."""
    path = tmp_path / "speech.wav"
    file = WavFile(path, PCM).__enter__()
    path.mkdir()
    with pytest.raises((IsADirectoryError, PermissionError)):
        file.__exit__(None, None, None)
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_there_and_is_no_file_stays_what_it_is(tmp_path: Path) -> None:
    """A folder or a device would be gone, and `/dev/null` with it."""
    for path in (tmp_path, Path(os.devnull)):
        if path.exists():
            with pytest.raises(FileExistsError, match="is there and is no file"):
                WavFile(path, PCM).__enter__()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_told_at_once(tmp_path: Path) -> None:
    """Not when the speech is over."""
    with pytest.raises(FileNotFoundError):
        WavFile(tmp_path / "nowhere" / "speech.wav", PCM).__enter__()


def test_two_writers_of_one_file_do_not_mix(tmp_path: Path) -> None:
    """Each has its own temporary file; the last to finish wins."""
    path = tmp_path / "speech.wav"
    with WavFile(path, PCM) as one:
        one.write(b"\1\1")
        with WavFile(path, PCM) as other:
            other.write(b"\2\2")
        assert path.read_bytes() == wav(PCM, b"\2\2")
    assert path.read_bytes() == wav(PCM, b"\1\1")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(sys.platform == "win32", reason="has no umask to speak of")
@pytest.mark.parametrize("mask", [0o022, 0o077, 0o027])
def test_permissions_follow_the_umask(tmp_path: Path, mask: int) -> None:
    """As with any file that a program opens."""
    path = tmp_path / "speech.wav"
    before = os.umask(mask)
    try:
        with WavFile(path, PCM) as file:
            file.write(b"\1\2")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask
