"""Requests and answers of `/v1`, in OpenAI's names."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, StringConstraints
from pydantic_core import PydanticCustomError

from cyrex.chat.model_names import Model
from cyrex.chat.protocol import Ask
from cyrex.engine import Grammar
from settings import get_settings
from web.shapes.common import AnswerBody, OwnCompanyId, Parameters, RequestBody, Text

MAX_MESSAGES = 2000
MAX_STOP_STRINGS = 16
MAX_TOKENS = 1_000_000
MAX_TOP_LOGPROBS = 20
# An error code that clients may check for; it is OpenAI's.
UNSUPPORTED = "unsupported_parameter"
ANY_OBJECT = {"type": "object"}


def _refuse_unless_empty(value: Any) -> None:
    """Null, false, empty and default values change nothing, so they are accepted."""
    if value in (None, False, [], {}, "auto", "default", "none", ["text"]):
        return
    raise PydanticCustomError(UNSUPPORTED, "this parameter is not supported here")


Unsupported = Annotated[Any, BeforeValidator(_refuse_unless_empty), Field(deprecated=True)]
Penalty = Annotated[float | None, Field(ge=-2, le=2)]
Tokens = Annotated[int | None, Field(ge=1, le=MAX_TOKENS)]
StopString = Annotated[str, StringConstraints(min_length=1, max_length=1000)]
StopStrings = Annotated[
    Annotated[list[StopString], Field(max_length=MAX_STOP_STRINGS)] | None,
    BeforeValidator(lambda value: [value] if isinstance(value, str) else value),
]


class StreamOptions(RequestBody):
    include_usage: bool | None = None
    include_obfuscation: Unsupported = None


class NamedSchema(RequestBody):
    name: str = Field("", max_length=64)
    description: str | None = None
    schema_: dict[str, Any] = Field(alias="schema", description="A JSON schema.")
    strict: bool | None = None


class ResponseFormat(RequestBody):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: NamedSchema | None = None


class CompletionRequest(RequestBody):
    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "model": "champion",
                "messages": [{"role": "user", "content": "Analyze Q4 sales"}],
            }
        }
    )

    model: str = Field(
        min_length=1,
        max_length=200,
        description="`champion`, `base`, or the id or version of an adapter of the company.",
    )
    messages: list[dict[str, Any]] = Field(min_length=1, max_length=MAX_MESSAGES)
    company_id: OwnCompanyId = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_completion_tokens: Tokens = Field(None, description="Default MAX_NEW_TOKENS.")
    max_tokens: Tokens = Field(None, description="The older name of `max_completion_tokens`.")
    temperature: float | None = Field(None, ge=0, le=2, description="Default 1; 0 is greedy.")
    top_p: float | None = Field(None, gt=0, le=1)
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    stop: StopStrings = Field(None, description="A string, or up to 16 of them.")
    presence_penalty: Penalty = None
    frequency_penalty: Penalty = None
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=MAX_TOP_LOGPROBS)
    response_format: ResponseFormat | None = None
    n: Literal[1] | None = None
    # Not in OpenAI's API; the names are those of other servers.
    top_k: int | None = Field(None, ge=0)
    min_p: float | None = Field(None, ge=0, le=1)
    repetition_penalty: float | None = Field(None, gt=0, le=10)
    # The client's end user: not stored, and without effect.
    user: str | None = None
    safety_identifier: str | None = None

    audio: Unsupported = None
    function_call: Unsupported = None
    functions: Unsupported = None
    logit_bias: Unsupported = None
    metadata: Unsupported = None
    modalities: Unsupported = None
    parallel_tool_calls: Unsupported = None
    prediction: Unsupported = None
    prompt_cache_key: Unsupported = None
    reasoning_effort: Unsupported = None
    service_tier: Unsupported = None
    store: Unsupported = None
    tool_choice: Unsupported = None
    tools: Unsupported = None
    verbosity: Unsupported = None
    web_search_options: Unsupported = None

    def ask(
        self, company_id: str, conversation_id: str, model: Model, messages: list[dict[str, Any]]
    ) -> Ask:
        """The request as an inference worker gets it."""
        settings = get_settings()
        return Ask(
            company_id=company_id,
            conversation_id=conversation_id,
            reply_to="",
            adapter_id=model.adapter_id,
            sha256=model.sha256,
            messages=messages,
            max_tokens=self.max_completion_tokens or self.max_tokens or settings.max_new_tokens,
            seconds=settings.chat_seconds,
            sampling=self._sampling(),
            stop=self.stop or [],
            grammar=self._grammar(),
            stream=bool(self.stream),
            logprobs=bool(self.logprobs),
        )

    def _sampling(self) -> dict[str, Any]:
        """Fields of the engine's Sampling; a field that is left out has its default."""
        named = {
            "temperature": 1.0 if self.temperature is None else self.temperature,
            "top_p": self.top_p,
            "top_k": self.top_k,
            "min_p": self.min_p,
            "repetition_penalty": self.repetition_penalty,
            "presence_penalty": self.presence_penalty,
            "frequency_penalty": self.frequency_penalty,
            # The engine takes no negative seeds; equal seeds stay equal.
            "seed": None if self.seed is None else self.seed % 2**63,
            "top_logprobs": self.top_logprobs if self.logprobs else None,
        }
        return {name: value for name, value in named.items() if value is not None}

    def _grammar(self) -> tuple[str, str] | None:
        wanted = self.response_format
        if wanted is None or wanted.type == "text":
            return None
        schema = wanted.json_schema.schema_ if wanted.json_schema is not None else ANY_OBJECT
        grammar = Grammar.json_schema(schema)
        return (grammar.kind, grammar.source)


class ModelPath(Parameters):
    model: Text = Field(max_length=200)


# ---- answers ----


class TokenLogprob(AnswerBody):
    token: str
    logprob: float
    bytes: list[int]


class TokenLogprobs(TokenLogprob):
    top_logprobs: list[TokenLogprob]


class ChoiceLogprobs(AnswerBody):
    content: list[TokenLogprobs]
    refusal: None = None


class ChatMessage(AnswerBody):
    role: Literal["assistant"]
    content: str
    refusal: None = None


class CompletionChoice(AnswerBody):
    index: int
    message: ChatMessage
    logprobs: ChoiceLogprobs | None
    finish_reason: Literal["stop", "length"]


class PromptDetails(AnswerBody):
    cached_tokens: int = Field(
        description="Prompt tokens reused from an earlier request of the company."
    )


class TokenUsage(AnswerBody):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails


class ChatCompletion(AnswerBody):
    """The answer without `stream`; with it, chunks come as server-sent events."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str = Field(description="The model that answered: an adapter's id, or `base`.")
    system_fingerprint: str | None = Field(
        description="A prefix of the adapter's SHA-256; null: the base model."
    )
    choices: list[CompletionChoice]
    usage: TokenUsage


class ModelCard(AnswerBody):
    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelCards(AnswerBody):
    object: Literal["list"]
    data: list[ModelCard]
