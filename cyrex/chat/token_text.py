"""Tokens as text and as bytes, the way OpenAI's logprobs tell them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from database.base import Json

# Where byte-level vocabularies put bytes that are no printable character of Latin-1.
_PRINTABLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_REST = [byte for byte in range(0x100) if byte not in _PRINTABLE]
_BYTES = {chr(byte): byte for byte in _PRINTABLE} | {
    chr(0x100 + i): byte for i, byte in enumerate(_REST)
}


class TokenText:
    """The vocabulary of a base model. `load` needs its folder's tokenizer.json."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        added = tokenizer.get_added_tokens_decoder()
        self._control = {number for number, token in added.items() if token.special}
        self._spelled = {token.content for token in added.values()}
        self._is_byte_level = "ByteLevel" in str(tokenizer.decoder)

    @classmethod
    def load(cls, folder: Path) -> TokenText:
        from tokenizers import Tokenizer

        return cls(Tokenizer.from_file(str(folder / "tokenizer.json")))

    def count(self, text: str) -> int:
        """Tokens of a rendered prompt."""
        return len(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def bytes_of(self, token: int) -> bytes:
        """The bytes of a token; several tokens may make one character."""
        name = self._tokenizer.id_to_token(token) or ""
        if self._is_byte_level and name not in self._spelled and all(c in _BYTES for c in name):
            return bytes(_BYTES[character] for character in name)
        text: str = self._tokenizer.decode([token], skip_special_tokens=False)
        return text.encode()

    def entries(
        self,
        tokens: Sequence[int],
        logprobs: Sequence[float],
        top: Sequence[Sequence[tuple[int, float]]],
    ) -> list[Json]:
        """OpenAI's `logprobs.content` of an answer's tokens; the end-of-turn token has none."""
        found = []
        for i, (token, logprob) in enumerate(zip(tokens, logprobs, strict=True)):
            if token in self._control:
                continue
            others = top[i] if i < len(top) else ()
            found.append(
                {
                    **self._entry(token, logprob),
                    "top_logprobs": [self._entry(*other) for other in others],
                }
            )
        return found

    def _entry(self, token: int, logprob: float) -> Json:
        raw = self.bytes_of(token)
        return {"token": raw.decode(errors="replace"), "logprob": logprob, "bytes": list(raw)}
