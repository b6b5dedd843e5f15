"""Incremental detokenisation: whole characters only, and never a stop string."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tokenizers.decoders import DecodeStream


class TextStream:
    """Turns tokens into text one by one, and finds the first stop string."""

    __slots__ = ("_decoder", "_handed_out", "_stops", "_tokenizer", "cut", "text")

    def __init__(self, tokenizer: Any, stop: Sequence[str]) -> None:
        """tokenizer: a `tokenizers.Tokenizer`. stop: the stop strings."""
        self._tokenizer = tokenizer
        self._decoder = DecodeStream(skip_special_tokens=False)
        self._stops = [_Stop(string) for string in stop]
        self._handed_out = 0
        self.text = ""
        # Where the answer ends, once a stop string is complete.
        self.cut: int | None = None

    def take(self, token: int) -> None:
        """Add a token. `text` grows once the token's characters are complete."""
        piece = self._decoder.step(self._tokenizer, token)
        if not piece:
            return
        places = [stop.find(piece, len(self.text)) for stop in self._stops]
        self.cut = min((place for place in places if place is not None), default=None)
        self.text += piece

    def hand_out(self) -> str:
        """The new text, without an end that may be the beginning of a stop string."""
        end = len(self.text) - self._held_back() if self.cut is None else self.cut
        new = self.text[self._handed_out : end]
        self._handed_out = max(self._handed_out, end)
        return new

    def rest(self, whole: str) -> str:
        """The part of the whole answer's text that was not handed out."""
        return whole[self._handed_out :]

    def _held_back(self) -> int:
        """Length of the text's longest suffix that is a prefix of a stop string."""
        return max((stop.begun for stop in self._stops), default=0)


class _Stop:
    """Finds a stop string in a growing text, by Knuth-Morris-Pratt: a character's cost does not
    depend on the string's length.

    begun: length of the string's longest prefix that the text ends with.
    """

    __slots__ = ("_shorter", "_string", "begun")

    def __init__(self, string: str) -> None:
        self._string = string
        # The failure table: for each prefix, the longest shorter prefix that it ends with.
        self._shorter = [0]
        self.begun = 0
        for character in string[1:]:
            self._step(character)
            self._shorter.append(self.begun)
        self.begun = 0

    def find(self, piece: str, start: int) -> int | None:
        """Add `piece`, which begins at position `start` of the text; returns the position of the
        first stop string that it completes, if any."""
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
