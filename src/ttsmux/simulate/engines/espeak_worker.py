"""
The program that speaks with espeak-ng, a process of its own.

    python -m ttsmux.simulate.engines.espeak_worker LIBRARY [DATA]

espeak-ng is free software under the GNU General Public License, version 3 or later. This
program loads it because the user installed it and asked for its voice. It runs as a separate
program and exchanges text and sound over pipes (`frames`); ttsmux ships nothing of espeak-ng
and never loads it into the process of an application. Do not import this module: run it.

The library keeps its state in globals, so one process is one voice at a time and requests are
answered in order. Whatever goes wrong with a request is answered in words; whatever goes wrong
with the library (it may print, call exit() or crash) is the parent's to notice. The program
ends when its standard input does, so it never outlives its parent.
"""

import ctypes
import os
import signal
import sys
from pathlib import Path
from typing import Final

from ttsmux.simulate.engines.frames import Ask, Reply, pack, read_ask
from ttsmux.simulate.engines.resample import resample

RATE: Final = 22050

# From espeak-ng's public header speak_lib.h, unchanged since 1.49.
_SYNCHRONOUS: Final = 2  # hand the sound to the callback, play nothing
_DONT_EXIT: Final = 0x8000  # without it a failed initialisation calls exit()
_CHARS_UTF8: Final = 1  # no other flags: <tags> and [[phonemes]] in a text are text
_POS_CHARACTER: Final = 1
_PARAMETER_RATE: Final = 1
_PARAMETER_PITCH: Final = 3
_EVENT_LIST_END: Final = 0
_EVENT_WORD: Final = 1

# Voices that are listed in 1.52.0 but come without a dictionary.
_MUTE: Final = {"fo"}


class _Voice(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("languages", ctypes.c_char_p),
        ("identifier", ctypes.c_char_p),
        ("gender", ctypes.c_ubyte),
        ("age", ctypes.c_ubyte),
        ("variant", ctypes.c_ubyte),
        ("xx1", ctypes.c_ubyte),
        ("score", ctypes.c_int),
        ("spare", ctypes.c_void_p),
    )


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    )


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(_Event))


class Speaker:
    """espeak-ng, loaded and set up. Raises OSError or AttributeError if that cannot be."""

    def __init__(self, library: str, data: str | None) -> None:
        self._lib = lib = ctypes.CDLL(library)
        lib.espeak_Initialize.argtypes = (
            ctypes.c_int,
            ctypes.c_int,
            ctypes.c_char_p,
            ctypes.c_int,
        )
        lib.espeak_Synth.argtypes = (
            ctypes.c_char_p,
            ctypes.c_size_t,
            ctypes.c_uint,
            ctypes.c_int,
            ctypes.c_uint,
            ctypes.c_uint,
            ctypes.c_void_p,
            ctypes.c_void_p,
        )
        lib.espeak_SetVoiceByName.argtypes = (ctypes.c_char_p,)
        lib.espeak_GetCurrentVoice.restype = ctypes.POINTER(_Voice)
        lib.espeak_Info.restype = ctypes.c_char_p
        rate = lib.espeak_Initialize(
            _SYNCHRONOUS, 60, os.fsencode(data) if data else None, _DONT_EXIT
        )
        if rate != RATE:
            raise OSError(f"espeak_Initialize returned {rate} instead of {RATE}")
        used = ctypes.c_char_p()
        self.version: str = lib.espeak_Info(ctypes.byref(used)).decode(errors="replace")
        self.data = os.fsdecode(used.value or b"")
        # A path it cannot use makes the library look elsewhere without saying so.
        if data and not _same(self.data, data):
            raise OSError(f"the library took its data from {self.data} instead of {data}")
        self._samples = bytearray()
        self._marks: list[tuple[int, int]] = []
        self._failure: BaseException | None = None
        self._callback = _Callback(self._on_sound)  # the library keeps no reference to it
        lib.espeak_SetSynthCallback(self._callback)

    def speak(self, ask: Ask, text: bytes) -> tuple[bytes, list[tuple[int, int]]]:
        """Return sound at `RATE` and where its words are: (character from 0, sample)."""
        self._set_voice(ask)
        self._samples = bytearray()
        self._marks = []
        self._failure = None
        text = text.replace(b"\0", b" ")  # the library would stop there
        status = self._lib.espeak_Synth(
            text, len(text) + 1, 0, _POS_CHARACTER, 0, _CHARS_UTF8, None, None
        )
        if self._failure is not None:
            raise self._failure
        if status != 0:
            raise OSError(f"espeak_Synth returned {status}")
        return bytes(self._samples), self._marks

    def _set_voice(self, ask: Ask) -> None:
        if not self._set_language(ask["language"]) and not self._set_language("en"):
            raise OSError("espeak-ng has no voice for English")
        current = self._lib.espeak_GetCurrentVoice()
        if current and current.contents.identifier:
            # Not an error if the variant is missing: the language alone still speaks.
            name = current.contents.identifier.split(b"+")[0] + ask["variant"].encode()
            self._lib.espeak_SetVoiceByName(name)
        self._lib.espeak_SetParameter(_PARAMETER_RATE, ask["speed"], 0)
        self._lib.espeak_SetParameter(_PARAMETER_PITCH, ask["pitch"], 0)

    def _set_language(self, language: str) -> bool:
        # By name "en-gb" and "fr-fr" fail; by properties every listed language works.
        voice = _Voice(languages=language.encode())
        return (
            language not in _MUTE
            and self._lib.espeak_SetVoiceByProperties(ctypes.byref(voice)) == 0
        )

    def _on_sound(self, wave: int | None, count: int, events: "ctypes._Pointer[_Event]") -> int:
        # ctypes would swallow an exception here and the library would speak on.
        try:
            index = 0
            while events[index].type != _EVENT_LIST_END:
                if events[index].type == _EVENT_WORD:
                    self._marks.append((events[index].text_position - 1, events[index].sample))
                index += 1
            if wave and count > 0:
                self._samples += ctypes.string_at(wave, 2 * count)
        except BaseException as exc:
            self._failure = exc
            return 1
        return 0


def _same(used: str, given: str) -> bool:
    # The library accepts the data directory or the one that holds it.
    return any(
        os.path.realpath(used) == os.path.realpath(p)
        for p in (given, Path(given, "espeak-ng-data"))
    )


def _answer(speaker: Speaker, ask: Ask, text: bytes) -> bytes:
    try:
        pcm, marks = speaker.speak(ask, text)
        if sys.byteorder == "big":
            swapped = bytearray(pcm)
            swapped[::2], swapped[1::2] = pcm[1::2], pcm[::2]
            pcm = bytes(swapped)
        # Resampled here and not by the parent, whose event loop would feel it.
        reply = Reply(marks=[(place, sample / RATE) for place, sample in marks])
        return pack(reply, resample(pcm, RATE, ask["rate"]))
    except Exception as exc:
        return pack(Reply(error=f"{type(exc).__name__}: {exc}"))


def main(library: str, data: str | None = None) -> int:
    """Load *library*, then answer requests on standard input until it ends."""
    # Ctrl-C reaches the whole process group; the parent decides when this one ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The pipe is ours alone: a library that prints must not print into it.
    with os.fdopen(os.dup(1), "wb") as replies, open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        try:
            speaker = Speaker(library, data)
        except Exception as exc:
            replies.write(pack(Reply(error=f"{type(exc).__name__}: {exc}")))
            return 1
        replies.write(pack(Reply(version=speaker.version, data=speaker.data)))
        replies.flush()
        while (frame := read_ask(sys.stdin.buffer.read)) is not None:
            replies.write(_answer(speaker, *frame))
            replies.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
