"""Rows and fields that mean something that cannot be learned here: refused by name."""

from __future__ import annotations

from helox.errors import LineError
from helox.forms.values import Row

PREFERENCES = (
    "is a pair of preferences (DPO), which is no method here yet; send the preferred answer as the "
    "output of a prompt"
)
# Keys that give a form of another product away, and what to send instead.
FOREIGN = {
    ("contents",): "is the form of Vertex AI and Gemini; send messages with role and content",
    ("text",): (
        "is a text whose question and answer cannot be told apart; send them as input and output"
    ),
    ("data",): "is a list of rows, or none of the known forms; send its rows one by one",
}
# Fields that would change what is learned, in rows of a form that does not read them.
UNREAD = {
    "chosen": PREFERENCES,
    "rejected": PREFERENCES,
    "preferred_output": PREFERENCES,
    "non_preferred_output": PREFERENCES,
    "history": "is read with input+output, prompt+completion, question+answer and Alpaca only",
    "context": "is read with instruction and response only; put it into the question",
    "documents": "is not read; put them into the question",
    "response_format": "is not learned; ask for the form in the messages",
    "chat_template_kwargs": "is not read: rows are rendered as serving renders them",
    "reasoning": "is not read; put it into the answer",
    "weight": "is read on assistant messages only",
    **dict.fromkeys(
        ("image", "images", "video", "videos", "audio", "audios"), "is not read: only text is"
    ),
}


def refuse_foreign(row: Row) -> None:
    """Raises `LineError` for a row that is of a form known elsewhere."""
    for keys, message in FOREIGN.items():
        if all(key in row for key in keys):
            raise LineError("line", f"{' and '.join(keys)} {message}")


def refuse_preferences(row: Row) -> None:
    """Raises `LineError` for a row that says which answers are good and which are not."""
    for keys in (("preferred_output", "non_preferred_output"), ("chosen", "rejected")):
        if all(key in row for key in keys):
            raise LineError(keys[0], PREFERENCES)
    if isinstance(row.get("label"), bool) and "completion" in row:
        raise LineError(
            "label", "says whether the answer is good (KTO), which is no method here; leave bad out"
        )


def refuse_unread(row: Row, read: frozenset[str]) -> None:
    """Raises `LineError` for a field that means something and is not read with the row's form."""
    for field in row.keys() - read:
        if field in UNREAD and row[field] not in ("", [], {}):
            raise LineError(field, UNREAD[field])
