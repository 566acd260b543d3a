"""Sound as a whole: in memory, and on disk whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from ..audio import AudioChunk, AudioFormat, wav_header
from ..errors import ConfigError

_NOT_WAV = {".aac", ".flac", ".m4a", ".mp3", ".mp4", ".oga", ".ogg", ".opus", ".pcm", ".raw"}
"""Ends of names that players believe."""


def gathered(chunks: Iterable[AudioChunk]) -> bytes:
    """Return the audio of *chunks*; of a speech that begins again, from there on."""
    parts: list[bytes] = []
    for chunk in chunks:
        if _begins_again(chunk):
            parts.clear()
        parts.append(chunk.data)
    return b"".join(parts)


def _begins_again(chunk: AudioChunk) -> bool:
    return chunk.resumed is not None and chunk.start == 0.0


class WavFile:
    """
    A WAV file that appears under its name when it is complete.

    Until then it is a temporary file beside it; if the block is left by an exception, it goes.

    Raises:
        ConfigError: the name says that it holds something else.
    """

    def __init__(self, path: str | Path, format: AudioFormat) -> None:
        self.path = Path(path)
        if self.path.suffix.lower() in _NOT_WAV:
            msg = f"{self.path.name} would hold a WAV file: give it a name that ends with .wav"
            raise ConfigError(msg, phase="config")
        self._format = format
        self._size = 0

    def __enter__(self) -> Self:
        if self.path.exists() and not self.path.is_file():
            # A device or a pipe would be replaced by a file, which nobody wants of /dev/null.
            msg = f"{self.path} is there and is no file"
            raise FileExistsError(errno.EEXIST, msg)
        name = f".{self.path.name}.{secrets.token_hex(4)}.part"
        self._temporary = self.path.with_name(name)
        self._file = open(self._temporary, "xb")
        self._file.write(wav_header(self._format, 0))
        return self

    def add(self, chunk: AudioChunk) -> None:
        """Write what is in *chunk*; if the speech begins again with it, in place of all before."""
        if _begins_again(chunk):
            self._file.seek(len(wav_header(self._format, 0)))
            self._file.truncate()
            self._size = 0
        self.write(chunk.data)

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self._size += len(data)

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            with self._file as file:
                if exc_type is None:
                    file.write(b"\0" * (self._size % 2))
                    file.seek(0)
                    file.write(wav_header(self._format, self._size))
            if exc_type is None:
                os.replace(self._temporary, self.path)
        finally:
            self._temporary.unlink(missing_ok=True)
