"""OpenAI's form before chat: prompts that end with a separator, completions with an end mark.

Here the template marks both. Left in the data they are learned as text, and a question without the
separator is another question.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

from helox.forms import Conversation

MOST = 0.8  # of the rows end alike
FEWEST_ROWS = 3
PROMPT_END = re.compile(r"\s*(?:#{2,}|->|={3,}|\|{2,}|-{3,})\s*\Z")
ANSWER_END = re.compile(r"\s*(?:\bEND\b|#{2,}|\bSTOP\b|\[END\]|<END>|\[STOP\]|@{2,}|\|{2,})\s*\Z")


@dataclass
class Separators:
    """Counts how prompts and answers end."""

    rows: int = 0
    prompts: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)

    def add(self, conversation: Conversation) -> None:
        self.rows += 1
        asked = PROMPT_END.search(conversation.messages[-2]["content"][-40:])
        answered = ANSWER_END.search(conversation.messages[-1]["content"][-40:])
        if asked:
            self.prompts[asked[0]] += 1
        if answered:
            self.answers[answered[0]] += 1

    def hints(self) -> list[str]:
        hints = []
        for ends, what, then in (
            (self.prompts, "prompts", "every question must then end so too"),
            (self.answers, "answers", "every answer will then end so too"),
        ):
            if ends and self.rows >= FEWEST_ROWS:
                end, count = ends.most_common(1)[0]
                if count >= MOST * self.rows:
                    hints.append(
                        f"{count} of {self.rows} {what} end with {end!r}, as OpenAI's models "
                        f"before chat needed it: it is learned as text, and {then}; leave it out"
                    )
        return hints
