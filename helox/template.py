"""The base model's chat template: messages to text, the same text in training and in serving."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helox.errors import LineError, UserError
from helox.fit import Message as Message
from helox.fit import fitted, refuse_loss

if TYPE_CHECKING:
    from jinja2 import Template

    from helox.probe import Traits

TEMPLATE_FILE = "chat_template.jinja"
TOKENIZER_CONFIG_FILE = "tokenizer_config.json"
TOKENIZER_FILE = "tokenizer.json"
# The day of `strftime_now`: a prompt that changed from day to day would make training and serving
# disagree. It is the one that Llama's own templates write where they know no date.
DATE = date(2024, 7, 26)
# The beginning of tokenizer.json as its library writes it: no vocabulary yet.
ADDED_TOKENS = re.compile(
    r'\s*\{\s*(?:"version":\s*"[^"]*",\s*)?'
    r'(?:"(?:truncation|padding)":\s*(?:null|\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\}),\s*)*'
    r'"added_tokens":\s*(?=\[)'
)
SPECIAL_TOKEN_NAMES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token")


class ChatTemplate:
    """A compiled chat template with the names of the base's special tokens.

    Args:
        source: the Jinja text.
        special_tokens: `bos_token` and so on, for the template to write.
        control_tokens: tokens that only the template may write. In a message they would forge a
            turn, so a space is put behind their first character.
        token_ids: of the control tokens, for a grammar to name them.
        enable_thinking: whether a base that can reason before it answers does so.
    """

    def __init__(
        self,
        source: str,
        special_tokens: Mapping[str, str] | None = None,
        control_tokens: Sequence[str] = (),
        token_ids: Mapping[str, int] | None = None,
        enable_thinking: bool = False,
    ) -> None:
        self.source = source
        self.special_tokens = dict(special_tokens or {})
        self.token_ids = dict(token_ids or {})
        self.enable_thinking = enable_thinking
        self.control_tokens = tuple(sorted(set(control_tokens), key=lambda t: (-len(t), t)))
        names = "|".join(re.escape(token) for token in self.control_tokens)
        self._control = re.compile(names) if names else None

    @classmethod
    def load(cls, model_dir: str | Path, enable_thinking: bool = False) -> ChatTemplate:
        """Reads the template of a model directory.

        Raises:
            UserError: there is none, or a file of the directory cannot be read.
        """
        directory = Path(model_dir)
        config = _read_json(directory / TOKENIZER_CONFIG_FILE)
        source = _source_of(directory, config)
        if source is None:
            raise UserError(
                "no_chat_template",
                f"the base model {directory.name!r} has no chat template "
                f"({TEMPLATE_FILE}, or chat_template in {TOKENIZER_CONFIG_FILE})",
                field="base_model",
            )
        special = {name: _text_of(config.get(name)) for name in SPECIAL_TOKEN_NAMES}
        added = _added_tokens(directory / TOKENIZER_FILE)
        control = {token["content"]: token["id"] for token in added if token.get("special")}
        named = {k: v for k, v in special.items() if v is not None}
        return cls(source, named, list(control), control, enable_thinking)

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.source.encode()).hexdigest()

    @cached_property
    def traits(self) -> Traits:
        """How this template writes conversations. Raises `UnfitTemplate` if it cannot work."""
        from helox.probe import traits_of

        return traits_of(self)

    def render(
        self,
        messages: Sequence[Message],
        add_generation_prompt: bool = False,
        tools: Sequence[dict[str, Any]] | None = None,
    ) -> str:
        """The text to tokenise, with `add_special_tokens=False`: the template writes all of them.

        Raises:
            LineError: the template refuses these messages.
            UnfitTemplate: the template refuses all messages.
        """
        text = self.raw(fitted(messages, self.traits), add_generation_prompt, tools)
        if not add_generation_prompt:
            return text
        text = text.removesuffix(self.traits.final)
        if self.traits.opened and text.endswith(self.traits.opened):
            return text + self.traits.closing
        return text + (self.traits.before_call_or_answer if tools else self.traits.before_answer)

    def span(
        self,
        messages: Sequence[Message],
        answer: int,
        tools: Sequence[dict[str, Any]] | None = None,
    ) -> tuple[str, str]:
        """The prompt that serving would give, and the text that the model should give back.

        Args:
            messages: a conversation.
            answer: the index of one of its assistant messages.

        Raises:
            LineError: the template refuses the messages, or does not write the answer in full.
        """
        traits = self.traits
        prompt = self.render(messages[:answer], add_generation_prompt=True, tools=tools)
        whole = self.render(messages[: answer + 1], tools=tools)
        head = prompt
        if not whole.startswith(prompt) and traits.opened:
            head = prompt.removesuffix(traits.opened + traits.closing)
        written = whole[len(head) :] if whole.startswith(head) else None
        message = self._without_control(messages[answer])
        refuse_loss(message, f"messages[{answer}]", head, written)
        assert written is not None
        if traits.empty_think and written.startswith(traits.empty_think):
            prompt += traits.empty_think
            written = written.removeprefix(traits.empty_think)
        return prompt, written.removesuffix(traits.tail)

    def raw(
        self,
        messages: Sequence[Message],
        add_generation_prompt: bool = False,
        tools: Sequence[dict[str, Any]] | None = None,
    ) -> str:
        """What the Jinja text makes of the messages as they are.

        Raises:
            LineError: the template refuses these messages.
        """
        import jinja2

        try:
            return self._compiled.render(
                messages=[self._without_control(_visible(message)) for message in messages],
                tools=self._without_control(list(tools)) if tools else None,
                documents=None,
                add_generation_prompt=add_generation_prompt,
                # The names that templates ask for: Qwen's and most others', Granite's.
                enable_thinking=self.enable_thinking,
                thinking=self.enable_thinking,
                **self.special_tokens,
            )
        except (jinja2.TemplateError, TypeError, ValueError, RecursionError) as error:
            raise LineError(
                "messages", f"the base model's chat template refuses them: {error}"
            ) from error

    def _without_control(self, value: Any) -> Any:
        if isinstance(value, str):
            if self._control is None or self._control.search(value) is None:
                return value
            return self._control.sub(lambda match: f"{match[0][0]} {match[0][1:]}", value)
        if isinstance(value, list):
            return [self._without_control(item) for item in value]
        if isinstance(value, dict):
            return {self._without_control(k): self._without_control(v) for k, v in value.items()}
        return value

    @cached_property
    def _compiled(self) -> Template:
        import jinja2
        from jinja2.ext import Extension, loopcontrols
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        class GenerationTag(Extension):
            """`{% generation %}` marks the answer for other trainers; here it prints its body."""

            tags = {"generation"}  # noqa: RUF012 - jinja declares it per instance

            def parse(self, parser: Any) -> Any:
                line = next(parser.stream).lineno
                body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
                return jinja2.nodes.Scope(body, lineno=line)

        def raise_exception(message: str) -> None:
            raise jinja2.TemplateError(message)

        # The settings of transformers' own environment, but for the date.
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[GenerationTag, loopcontrols]
        )
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = raise_exception
        environment.globals["strftime_now"] = DATE.strftime
        try:
            return environment.from_string(self.source)
        except jinja2.TemplateError as error:
            raise UserError(
                "bad_chat_template",
                f"the base model's chat template is not valid Jinja: {error}",
                field="base_model",
            ) from error


def _visible(message: Message) -> Message:
    """Without the weight, which is for the loss: a template may print every key."""
    return {key: value for key, value in message.items() if key != "weight"}


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Jinja's own filter escapes for HTML, which a language model would learn."""
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _source_of(directory: Path, config: Mapping[str, Any]) -> str | None:
    path = directory / TEMPLATE_FILE
    if path.is_file():
        return path.read_text(encoding="utf-8")
    template = config.get("chat_template")
    if isinstance(template, list):  # several named ones: the default is the chat one
        named = {entry.get("name"): entry.get("template") for entry in template}
        template = named.get("default")
    return template if isinstance(template, str) else None


def _added_tokens(path: Path) -> list[dict[str, Any]]:
    """The tokens that `tokenizer.json` adds to the vocabulary.

    They stand before it. The rest, of up to 30 MB, takes seconds to parse.
    """
    if not path.is_file():
        return []
    text = path.read_bytes().decode()
    found = ADDED_TOKENS.match(text)
    if found is None:
        return list(_read_json(path).get("added_tokens") or [])
    try:
        added: list[dict[str, Any]] = json.JSONDecoder().raw_decode(text, found.end())[0]
    except ValueError as error:
        raise _not_json(path, error) from error
    return added


def _text_of(token: Any) -> str | None:
    """A special token is a string, or an object that holds one under `content`."""
    if isinstance(token, dict):
        token = token.get("content")
    return token if isinstance(token, str) else None


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise _not_json(path, error) from error
    return values if isinstance(values, dict) else {}


def _not_json(path: Path, error: ValueError) -> UserError:
    return UserError(
        "bad_base_model", f"{path.name} of the base model is not JSON: {error}", field="base_model"
    )
