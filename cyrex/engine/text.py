"""An answer's text as its tokens come: whole characters, and never a stop string."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tokenizers.decoders import DecodeStream


class TextStream:
    """Turns tokens into text one by one, and finds the first stop string."""

    __slots__ = ("_decoder", "_handed_out", "_stops", "_tokenizer", "cut", "text")

    def __init__(self, tokenizer: Any, stop: Sequence[str]) -> None:
        """`tokenizer` is the Rust one: `tokenizers.Tokenizer`."""
        self._tokenizer = tokenizer
        self._decoder = DecodeStream(skip_special_tokens=False)
        self._stops = [_Stop(string) for string in stop]
        self._handed_out = 0
        self.text = ""
        # Where the answer ends, once a stop string is complete.
        self.cut: int | None = None

    def take(self, token: int) -> None:
        """Go on by one token. `text` grows when its characters are complete."""
        piece = self._decoder.step(self._tokenizer, token)
        if not piece:
            return
        places = [stop.find(piece, len(self.text)) for stop in self._stops]
        self.cut = min((place for place in places if place is not None), default=None)
        self.text += piece

    def hand_out(self) -> str:
        """What is new and certain: the end of the text is held back if a stop may begin there."""
        end = len(self.text) - self._held_back() if self.cut is None else self.cut
        new = self.text[self._handed_out : end]
        self._handed_out = max(self._handed_out, end)
        return new

    def rest(self, whole: str) -> str:
        """What of the whole answer's text has not been handed out."""
        return whole[self._handed_out :]

    def _held_back(self) -> int:
        """Length of the longest end of the text that is the beginning of a stop string."""
        return max((stop.begun for stop in self._stops), default=0)


class _Stop:
    """A stop string in a text that grows, by Knuth, Morris and Pratt: a long one costs no more a
    character than a short one, whatever the text repeats.

    begun: length of its longest beginning that the text ends with.
    """

    __slots__ = ("_shorter", "_string", "begun")

    def __init__(self, string: str) -> None:
        self._string = string
        # For each beginning the next shorter one that it ends with.
        self._shorter = [0]
        self.begun = 0
        for character in string[1:]:
            self._step(character)
            self._shorter.append(self.begun)
        self.begun = 0

    def find(self, piece: str, start: int) -> int | None:
        """Go on by `piece`, which begins at `start`; returns where the string that it completes
        first begins, if any."""
        found: int | None = None
        for place, character in enumerate(piece, start + 1):
            self._step(character)
            if self.begun == len(self._string):
                found = place - self.begun if found is None else found
                self.begun = self._shorter[-1]
        return found

    def _step(self, character: str) -> None:
        begun, string = self.begun, self._string
        while begun and string[begun] != character:
            begun = self._shorter[begun - 1]
        self.begun = begun + 1 if string[begun] == character else 0
