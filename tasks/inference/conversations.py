"""The task of a conversation: take its ticket, ask the engine, hand on what it says."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import structlog

from cyrex.chat.protocol import TASK, Ask, ticket_key
from cyrex.chat.usage import Used
from cyrex.engine import (
    AdapterRefused,
    Cancelled,
    Completion,
    DeadlineExceeded,
    Delta,
    EngineClosed,
    EngineError,
    Grammar,
    GrammarRefused,
    Handle,
    PromptTooLong,
    QueueFull,
    Request,
    RequestRefused,
    Sampling,
)
from cyrex.errors import UserError
from cyrex.serving import EngineDied, EngineStartError
from database.base import Json
from helox.render import LineError
from tasks import app
from tasks.broker.connection import broker
from tasks.inference import engine as inference
from tasks.inference.adapters import Use
from tasks.inference.replies import Reply

log = structlog.get_logger()

# A new engine is asked this often, as long as nothing of the answer has been said.
ENGINES = 3
# An engine that does not even keep the deadline has hung.
OVERTIME_SECONDS = 10.0

# Engine errors as HTTP: status, code, parameter.
REFUSALS: tuple[tuple[type[EngineError], int, str, str | None], ...] = (
    (PromptTooLong, 400, "context_length_exceeded", "messages"),
    (GrammarRefused, 400, "invalid_request", "response_format"),
    (RequestRefused, 400, "invalid_request", None),
    (QueueFull, 429, "rate_limited", None),
    (DeadlineExceeded, 504, "deadline_exceeded", None),
    (AdapterRefused, 503, "adapter_unavailable", "model"),
    (EngineStartError, 503, "engine_unavailable", None),
    (EngineDied, 503, "engine_unavailable", None),
    (EngineClosed, 503, "engine_unavailable", None),
)


# No monitoring events: there may be hundreds a second, and what matters of them is metered.
@app.task(name=TASK, send_events=False)
def answer(company_id: str, call_id: str) -> None:
    """Void without the ticket: another worker has it, or nobody waits for the answer any more."""
    ticket = broker().getdel(ticket_key(call_id))
    if not isinstance(ticket, bytes):
        return
    ask = Ask.load(ticket)
    assert ask.company_id == company_id
    replies = inference.replies()
    reply = replies.open(call_id, ask.reply_to)
    try:
        reply.say("started")
        replies.flush()
        _Turn(ask, reply).run()
    except Exception:
        log.exception("conversation_failed", conversation_id=ask.conversation_id)
        reply.say("error", _error(500, "internal_error", "the answer failed"))
    finally:
        replies.flush()
        replies.close(reply)


@dataclass
class _Turn:
    """One answer: from what is asked to what was used."""

    ask: Ask
    reply: Reply
    engines: int = 0
    prompt: str = ""
    tokens: int = field(default=0)
    use: Use = field(default_factory=Use)

    def run(self) -> None:
        try:
            request = self._request()
        except UserError as error:
            self.reply.say("error", _error(error.status, error.code, error.message, error.param))
            return
        outcome: Completion | EngineError | None = None
        with inference.adapters().using(request.adapter) as self.use:
            while outcome is None:
                self.engines += 1
                outcome = self._answer(request)
        if isinstance(outcome, Completion):
            self._meter(outcome.prompt_tokens, outcome.completion_tokens)
        elif self.tokens:
            self._meter(inference.token_text().count(self.prompt), self.tokens)

    def _request(self) -> Request:
        """Raises `UserError`."""
        ask = self.ask
        try:
            self.prompt = inference.template().render(ask.messages, add_generation_prompt=True)
        except LineError as error:
            raise UserError("invalid_request", str(error), param="messages") from error
        adapter = None
        if ask.adapter_id is not None and ask.sha256 is not None:
            adapters = inference.adapters()
            adapter = adapters.ref_of(ask.company_id, ask.adapter_id, ask.sha256)
        try:
            return Request(
                company=ask.company_id,
                adapter=adapter,
                prompt=self.prompt,
                max_new_tokens=ask.max_tokens,
                sampling=Sampling(**ask.sampling),
                stop=tuple(ask.stop),
                deadline=time.monotonic() + ask.seconds,
                grammar=Grammar(*ask.grammar) if ask.grammar is not None else None,  # type: ignore[arg-type]
                stream=ask.stream,
            )
        except RequestRefused as error:
            raise UserError("invalid_request", str(error)) from error

    def _answer(self, request: Request) -> Completion | EngineError | None:
        """The outcome, which has been said; None: an engine died before it said anything."""
        try:
            handle = inference.engine().submit(request)
        except EngineClosed as error:
            self._say_failed(error)
            return error
        # Said by the engine's thread, so that the end travels with its last piece.
        if self.ask.stream:
            handle.subscribe(self._say_delta)
        handle.add_done_callback(self._say_end)
        self.reply.on_cancel(handle.cancel)
        self.use.on_refusal(handle.cancel)
        try:
            handle.result(self.ask.seconds + OVERTIME_SECONDS)
        except TimeoutError:
            handle.cancel()
            late = DeadlineExceeded("the engine does not answer")
            self._say_failed(late)
            return late
        except EngineError as error:
            return None if self._may_try_again(error) else error
        return handle.result(0)

    def _may_try_again(self, error: EngineError) -> bool:
        again = isinstance(error, EngineDied) and self.engines < ENGINES
        return again and not self.reply.has_spoken and not self.reply.cancelled.is_set()

    def _say_delta(self, delta: Delta) -> None:
        self.tokens += len(delta.tokens)
        entries = None
        if self.ask.logprobs:
            entries = inference.token_text().entries(delta.tokens, delta.logprobs, delta.top)
        if delta.text or entries:
            self.reply.say_piece(delta.text, entries)

    def _say_end(self, handle: Handle) -> None:
        outcome = handle.outcome()
        if isinstance(outcome, EngineError):
            if not self._may_try_again(outcome):
                self._say_failed(outcome)
            return
        end: Json = {
            "finish_reason": outcome.finish_reason,
            "prompt_tokens": outcome.prompt_tokens,
            "completion_tokens": outcome.completion_tokens,
            "cached_tokens": outcome.cached_tokens,
        }
        if not self.ask.stream:
            end["text"] = outcome.text
            if self.ask.logprobs:
                end["logprobs"] = inference.token_text().entries(
                    outcome.tokens, outcome.logprobs, outcome.top_logprobs
                )
        self.reply.say("end", end)

    def _say_failed(self, error: EngineError) -> None:
        if isinstance(error, Cancelled):
            refusal = self.use.refusal
            # Without one, nobody listens.
            if refusal is not None:
                said = _error(refusal.status, refusal.code, refusal.message, refusal.param)
                self.reply.say("error", said)
            return
        for kind, status, code, param in REFUSALS:
            if isinstance(error, kind):
                again = isinstance(error, EngineDied | EngineClosed)
                self.reply.say("error", {**_error(status, code, str(error), param), "again": again})
                return
        log.warning("generation_failed", error=str(error))
        self.reply.say("error", _error(500, "generation_failed", "the model's computation failed"))

    def _meter(self, prompt_tokens: int, completion_tokens: int) -> None:
        inference.meter().add(Used.of(self.ask, prompt_tokens, completion_tokens))


def _error(status: int, code: str, message: str, param: str | None = None) -> Json:
    return {"status": status, "code": code, "message": message, "param": param}
