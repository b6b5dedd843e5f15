"""The one place that turns data into prompts, for training and for serving.

Pure: no torch, no transformers. A training line of any accepted form becomes a `Conversation`
(chat messages), the base model's `ChatTemplate` makes it text. A job's data becomes the messages
that a training line with the same input would have had. The forms are in `helox.forms`.
"""

from __future__ import annotations

from helox.errors import LineError
from helox.forms import (
    Conversation,
    Question,
    answer_of,
    content_of,
    fields_of,
    messages_of_chat,
    order_matters,
    prompt_of_job,
    question_of,
    split_answer,
    to_messages,
)
from helox.template import ChatTemplate, Message

__all__ = [
    "ChatTemplate",
    "Conversation",
    "LineError",
    "Message",
    "Question",
    "answer_of",
    "content_of",
    "fields_of",
    "messages_of_chat",
    "order_matters",
    "prompt_of_job",
    "question_of",
    "split_answer",
    "to_messages",
]
