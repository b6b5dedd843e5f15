"""An answer's text as its tokens come: whole characters, and never a stop string."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tokenizers.decoders import DecodeStream


class TextStream:
    """Turns tokens into text one by one, and finds the first stop string."""

    __slots__ = ("_decoder", "_handed_out", "_longest", "_stop", "_tokenizer", "cut", "text")

    def __init__(self, tokenizer: Any, stop: Sequence[str]) -> None:
        """`tokenizer` is the Rust one: `tokenizers.Tokenizer`."""
        self._tokenizer = tokenizer
        self._decoder = DecodeStream(skip_special_tokens=False)
        self._stop = stop
        self._longest = max(map(len, stop), default=0)
        self._handed_out = 0
        self.text = ""
        # Where the answer ends, once a stop string is complete.
        self.cut: int | None = None

    def take(self, token: int) -> None:
        """Go on by one token. `text` grows when its characters are complete."""
        piece = self._decoder.step(self._tokenizer, token)
        if not piece:
            return
        searched = max(0, len(self.text) - self._longest + 1)
        self.text += piece
        if self._stop:
            places = [p for s in self._stop if (p := self.text.find(s, searched)) >= 0]
            self.cut = min(places, default=None)

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
        for length in range(min(self._longest - 1, len(self.text)), 0, -1):
            end = self.text[-length:]
            if any(stop.startswith(end) for stop in self._stop):
                return length
        return 0
