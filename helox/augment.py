"""Conversations made anew in every epoch, so that a few hundred of them teach more.

Two changes, both by chance, both to words that users say, before the chat template writes them:
    - Noise: words that no answer repeats give way to random ones. Frames that are seen hundreds of
      times are no longer learned by heart.
    - Variation: words that an answer copies from a user give way to random ones, in both. What is
      copied can only be copied, for it has never been seen.

Variation leaves alone what an answer does not copy but chooses: an answer that another conversation
has too (a label), words of more than a twentieth of the answers, keys of JSON objects, names of
tools, and what system messages, tools or their replies say as well. Digits and punctuation stay as
they are. The draws depend on seed, epoch and line alone, so that resuming needs no state.
"""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from helox.errors import LineError
from helox.mask import Encoder, Example
from helox.render import Conversation, Message, content_of
from helox.spec import Amounts
from helox.vocabulary import Vocabulary, in_case_of

# Letters in a row, with the escapes of JSON among them; or another escape, to be passed over.
WORD = re.compile(r"(?:[^\W\d_]|\\u[0-9a-fA-F]{4})+|\\.")
COMMON_SHARE = 20  # a word of more than one in so many answers is part of their form
SHORTEST_STEM = 3  # letters of an answer's word that count as evidence inside a longer word

Change = Callable[[str], str]


@dataclass(frozen=True)
class _Words:
    """The words of a conversation, in lower case."""

    users: Mapping[str, str]  # each as it stands where it comes first
    answers: frozenset[str]  # as written
    said: frozenset[str]  # by the answers, as written and as JSON reads them
    fixed: frozenset[str]  # of everything else that answers may repeat, and of their keys


class Augmenter:
    """Makes the examples of a step anew."""

    def __init__(
        self,
        conversations: Mapping[int, Conversation],
        encoder: Encoder,
        amounts: Amounts,
        seed: int,
    ) -> None:
        """`conversations` are those of the examples, by line."""
        self._conversations = conversations
        self._encoder = encoder
        self._amounts = amounts
        self._seed = seed
        if not self._is_on:
            return
        self._vocabulary = Vocabulary(encoder.tokenizer)
        self._words = {line: _words_of(c) for line, c in conversations.items()}
        answers = Counter(map(_answers_key, conversations.values()))
        self._labels = {answer for answer, count in answers.items() if count > 1}
        counts = Counter(word for words in self._words.values() for word in words.answers)
        self._common = {w for w, n in counts.items() if n * COMMON_SHARE > len(conversations)}

    @property
    def _is_on(self) -> bool:
        return bool(self._amounts.noise or self._amounts.variation)

    def __call__(self, examples: Sequence[Example], *, epoch: int) -> list[Example]:
        if not self._is_on:
            return list(examples)
        made: dict[int, list[Example]] = {}
        for example in examples:
            if example.line not in made:
                made[example.line] = self._made(example.line, epoch)
        return [_chosen(example, made[example.line]) for example in examples]

    def _made(self, line: int, epoch: int) -> list[Example]:
        """The examples of a line in this epoch; none where the template refuses the new words."""
        rng = random.Random(f"augment:{self._seed}:{epoch}:{line}")
        conversation = self._varied(self._noisy(self._conversations[line], line, rng), line, rng)
        try:
            return self._encoder.encode(conversation, line)
        except LineError:
            return []

    def _noisy(self, conversation: Conversation, line: int, rng: random.Random) -> Conversation:
        words, share = self._words[line], self._amounts.noise

        def changed(word: str) -> str:
            if rng.random() >= share or _is_evidence(word.casefold(), words):
                return word
            return self._vocabulary.other(word, rng)

        return _with_words(conversation, changed, roles=("user",)) if share else conversation

    def _varied(self, conversation: Conversation, line: int, rng: random.Random) -> Conversation:
        words = self._words[line]
        if rng.random() >= self._amounts.variation or _answers_key(conversation) in self._labels:
            return conversation
        copied = (words.users.keys() & words.answers) - words.fixed - self._common
        others = {w: self._vocabulary.other(words.users[w], rng) for w in sorted(copied)}

        def changed(word: str) -> str:
            other = others.get(word.casefold())
            return word if other is None else in_case_of(word, other)

        return _with_words(conversation, changed, roles=("user", "assistant"))


def _chosen(example: Example, made: Sequence[Example]) -> Example:
    """The new form of an example, unless it lost something of its answer to the length limit."""
    if example.part >= len(made):
        return example
    new = made[example.part]
    return example if new.truncated and not example.truncated else new


def _words_of(conversation: Conversation) -> _Words:
    users: dict[str, str] = {}
    fixed = set(_words_in(content_of(list(conversation.tools or ()))))
    said: set[str] = set()
    written: set[str] = set()
    for message in conversation.messages:
        if message["role"] == "user":
            for found in _words_in(message["content"]):
                users.setdefault(found.casefold(), found)
        elif not _is_answer(message):
            fixed.update(_words_in(content_of(message)))
        else:
            functions = [call["function"] for call in message.get("tool_calls", ())]
            arguments = [function["arguments"] for function in functions]
            content = _read(message["content"])
            fixed.update(w for key in _keys([content, arguments]) for w in _words_in(key))
            fixed.update(w for function in functions for w in _words_in(function["name"]))
            in_calls = {w for text in _texts(arguments) for w in _words_in(text)}
            written |= in_calls | set(_words_in(message["content"]))
            said |= written | {w for text in _texts(content) for w in _words_in(text)}
    return _Words(users, _lower(written), _lower(said), _lower(fixed))


def _lower(words: Iterable[str]) -> frozenset[str]:
    return frozenset(word.casefold() for word in words)


def _is_evidence(word: str, words: _Words) -> bool:
    """Whether an answer repeats this word, a part of it, or a longer word with it inside."""
    said = words.said
    if word in words.fixed or word in said:
        return True
    return any(
        min(len(word), len(other)) >= SHORTEST_STEM and (word in other or other in word)
        for other in said
    )


def _is_answer(message: Message) -> bool:
    return bool(message["role"] == "assistant" and message.get("weight", 1) != 0)


def _answers_key(conversation: Conversation) -> str:
    return content_of([m for m in conversation.messages if _is_answer(m)])


def _words_in(text: str) -> Iterator[str]:
    return (found[0] for found in WORD.finditer(text) if "\\" not in found[0])


def _read(text: str) -> Any:
    """An answer's JSON, or its text."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _keys(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from value
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _keys(item)


def _texts(value: Any) -> Iterator[str]:
    """The strings of a JSON value, keys aside."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)


def _with_words(conversation: Conversation, changed: Change, roles: Iterable[str]) -> Conversation:
    messages = [_changed(m, changed) if m["role"] in roles else m for m in conversation.messages]
    return replace(conversation, messages=tuple(messages))


def _changed(message: Message, changed: Change) -> Message:
    if message["role"] == "assistant" and not _is_answer(message):
        return message

    def text(value: str) -> str:
        return WORD.sub(lambda found: found[0] if "\\" in found[0] else changed(found[0]), value)

    def inside(value: Any) -> Any:
        if isinstance(value, str):
            return text(value)
        if isinstance(value, list):
            return [inside(item) for item in value]
        return {k: inside(v) for k, v in value.items()} if isinstance(value, dict) else value

    new = {**message, "content": text(message["content"])}
    if calls := message.get("tool_calls"):
        new["tool_calls"] = [
            {
                **call,
                "function": {
                    **call["function"],
                    "arguments": inside(call["function"]["arguments"]),
                },
            }
            for call in calls
        ]
    return new
