"""`/v1`: OpenAI's chat completions, answered by the models of the caller's company."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import structlog
from flask import Response, current_app, jsonify, request

from cyrex.chat.model_names import Model, choose_model, list_models, model_view
from cyrex.chat.protocol import Event
from cyrex.engine import RequestRefused
from cyrex.errors import TooMany, UserError
from database.base import Json, new_id
from helox.render import LineError, Message, messages_of_chat
from web.http.auth import company_of, session_for
from web.http.errors import error_shape
from web.http.openapi import CHAT, blueprint, documented, refusals
from web.live.conversations import ClientGone, Conversations, LiveConversation
from web.live.waiting import WaitingClients
from web.live.watching import Watcher
from web.shapes import chat as shapes
from web.shapes.common import CompanyQuery

log = structlog.get_logger()

api = blueprint("chat", __name__, "/v1", CHAT)

# nginx's status for a client that disconnected; only the log shows it.
CLIENT_CLOSED_REQUEST = 499
FINGERPRINT_CHARACTERS = 10
DONE = b"data: [DONE]\n\n"


@api.post(
    "/chat/completions",
    summary="Answer a conversation",
    responses={**documented((200, shapes.ChatCompletion), limited=True), **refusals(413, 415, 504)},
)
def create_completion(body: shapes.CompletionRequest) -> Response:
    """OpenAI's chat completions. With `stream`, chunks come as server-sent events.

    Only the usage of a conversation is stored, not its text. 429 while too many clients wait.
    """
    company_id = company_of(body.company_id)
    messages = _messages(body)
    _check(body)
    with session_for(company_id) as session:
        model = choose_model(session, company_id, body.model)
    try:
        ask = body.ask(company_id, new_id(), model, messages)
    except RequestRefused as error:
        raise UserError("invalid_request", str(error), param="response_format") from error
    with ExitStack() as held:
        held.enter_context(_seat(company_id))
        conversation = _conversations().begin(ask)
        held.callback(conversation.close)
        held.enter_context(_watcher().watch(request.environ, conversation.client_gone))
        frame = _Frame(ask.conversation_id, model)
        # The first event is awaited before the status is sent, so that an error has its own status.
        try:
            first = conversation.next()
        except ClientGone:
            return Response(status=CLIENT_CLOSED_REQUEST)
        if not body.stream:
            return jsonify(frame.completion(first.value))
        with_usage = body.stream_options is not None and bool(body.stream_options.include_usage)
        stream = _Stream(first, conversation, frame, with_usage, held.pop_all())
    response = Response(stream, content_type="text/event-stream; charset=utf-8")
    response.headers["X-Accel-Buffering"] = "no"
    return response


@api.get("/models", summary="List models", responses=documented((200, shapes.ModelCards)))
def list_cards(query: CompanyQuery) -> Response:
    """The values of `model`: `champion`, `base`, and the company's adapters, newest first."""
    company_id = company_of(query.company_id)
    with session_for(company_id) as session:
        return jsonify({"object": "list", "data": list_models(session, company_id)})


@api.get(
    "/models/<model>", summary="Look at a model", responses=documented((200, shapes.ModelCard))
)
def get_card(path: shapes.ModelPath, query: CompanyQuery) -> Response:
    company_id = company_of(query.company_id)
    with session_for(company_id) as session:
        return jsonify(model_view(session, company_id, path.model))


def _messages(body: shapes.CompletionRequest) -> list[Message]:
    """The messages as training renders them."""
    try:
        return messages_of_chat(body.messages)
    except LineError as error:
        raise UserError("invalid_request", str(error), param=error.field) from error


def _check(body: shapes.CompletionRequest) -> None:
    """Refuse combinations of fields that no field shows by itself."""
    if body.top_logprobs is not None and not body.logprobs:
        raise UserError("invalid_request", "top_logprobs: needs logprobs", param="top_logprobs")
    wanted = body.response_format
    if wanted is not None and (wanted.type == "json_schema") != (wanted.json_schema is not None):
        raise UserError(
            "invalid_request",
            "response_format.json_schema: belongs to type json_schema, and only to it",
            param="response_format.json_schema",
        )
    if body.stream_options is not None and not body.stream:
        raise UserError("invalid_request", "stream_options: needs stream", param="stream_options")


def _conversations() -> Conversations:
    found: Conversations = current_app.extensions["cyrex.conversations"]
    return found


def _watcher() -> Watcher:
    found: Watcher = current_app.extensions["cyrex.watcher"]
    return found


def _seat(company_id: str) -> AbstractContextManager[Any]:
    """Take a seat among the waiting clients until the context ends. Raises `TooMany`."""
    waiters: WaitingClients = current_app.extensions["cyrex.waiters"]
    if not waiters.take(company_id):
        raise TooMany(
            "too_many_waiting",
            f"{company_id} has as many clients waiting here as it may, of {waiters.seats} in all; "
            "try again",
        )
    held = ExitStack()
    held.callback(waiters.leave, company_id)
    return held


class _Frame:
    """Writes the JSON of one answer: a whole completion, or chunks as server-sent events."""

    def __init__(self, conversation_id: str, model: Model) -> None:
        fingerprint = f"fp_{model.sha256[:FINGERPRINT_CHARACTERS]}" if model.sha256 else None
        self._same = {
            "id": f"chatcmpl-{conversation_id}",
            "created": int(time.time()),
            "model": model.name,
            "system_fingerprint": fingerprint,
        }
        self._opening = json.dumps({**self._same, "object": "chat.completion.chunk"})[:-1]
        # One chunk per token: all but its text is serialised beforehand.
        before, after = self.chunk({"content": "<>"}).split(b'"<>"')
        self._before_text, self._after_text = before, after

    def completion(self, end: Json) -> Json:
        logprobs = {"content": end["logprobs"], "refusal": None} if "logprobs" in end else None
        message = {"role": "assistant", "content": end["text"], "refusal": None}
        return {
            **self._same,
            "object": "chat.completion",
            "choices": [
                {
                    "index": 0,
                    "message": message,
                    "logprobs": logprobs,
                    "finish_reason": end["finish_reason"],
                }
            ],
            "usage": usage_of(end),
        }

    def chunk(self, delta: Json, logprobs: Any = None, finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        if logprobs is not None:
            choice["logprobs"] = {"content": logprobs, "refusal": None}
        return self._event(f'"choices": [{json.dumps(choice)}]')

    def text(self, text: str) -> bytes:
        return b"".join((self._before_text, json.dumps(text).encode(), self._after_text))

    def usage(self, end: Json) -> bytes:
        return self._event(f'"choices": [], "usage": {json.dumps(usage_of(end))}')

    def _event(self, rest: str) -> bytes:
        return f"data: {self._opening}, {rest}}}\n\n".encode()


def usage_of(end: Json) -> Json:
    return {
        "prompt_tokens": end["prompt_tokens"],
        "completion_tokens": end["completion_tokens"],
        "total_tokens": end["prompt_tokens"] + end["completion_tokens"],
        "prompt_tokens_details": {"cached_tokens": end["cached_tokens"]},
    }


class _Stream(Iterator[bytes]):
    """The server-sent events of an answer. It is no generator because a generator that was never
    advanced does not run its `finally`: a client may disconnect before the first event."""

    def __init__(
        self,
        first: Event,
        conversation: LiveConversation,
        frame: _Frame,
        with_usage: bool,
        held: ExitStack,
    ) -> None:
        self._next: Event | None = first
        self._conversation = conversation
        self._frame = frame
        self._with_usage = with_usage
        self._held = held
        self._opening = frame.chunk({"role": "assistant", "content": "", "refusal": None})
        self._is_over = False

    def __next__(self) -> bytes:
        """All events that have arrived, in one piece of the response."""
        if self._is_over:
            self.close()
            raise StopIteration
        pieces = [self._opening]
        self._opening = b""
        try:
            pieces.append(self._write(self._next or self._conversation.next()))
            while not self._is_over and self._conversation.has_more():
                pieces.append(self._write(self._conversation.next()))
        except ClientGone:
            self.close()
            raise StopIteration from None
        except UserError as error:
            # The status is sent already: the error is the last event, and no [DONE] follows.
            self._is_over = True
            log.info("stream_broke_off", code=error.code, reason=error.message)
            pieces.append(f"data: {json.dumps(error_shape(error))}\n\n".encode())
        return b"".join(pieces)

    def _write(self, event: Event) -> bytes:
        self._next = None
        if event.kind == "delta":
            text, logprobs = event.value
            if logprobs is None:
                return self._frame.text(text)
            return self._frame.chunk({"content": text}, logprobs)
        self._is_over = True
        end = event.value
        last = self._frame.chunk({}, finish_reason=end["finish_reason"])
        return last + (self._frame.usage(end) if self._with_usage else b"") + DONE

    def close(self) -> None:
        self._is_over = True
        self._held.close()
