"""One turn of the model: the prompt, the grammar of its answer, and the decision that it means.

Pure: rows and networks are elsewhere. A step is one turn of the model: one call of a registered
tool, or the final answer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cyrex.engine import Grammar
from cyrex.engine.grammar import alternatives, literal
from cyrex.errors import UserError
from helox.calls import CallFormat, ordered_arguments, ordered_tools
from helox.render import ChatTemplate, Message, content_of, prompt_of_job, question_of

# Any text, the empty one included; control tokens of the base are never part of it.
ANY_TEXT = "/(?s:.*)/"


@dataclass(frozen=True)
class AgentLimits:
    """The limits of one job. steps: turns of the model. tokens: generated in all its turns."""

    steps: int
    tokens: int
    seconds: float
    memories: int


@dataclass(frozen=True)
class CallTool:
    """The decision to call a tool."""

    tool: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class FinalAnswer:
    """The decision to end the job with this text."""

    text: str


@dataclass(frozen=True)
class Turn:
    """A call of an earlier step, and the tool's reply (JSON text, or plain text)."""

    call_id: str
    tool: str
    arguments: dict[str, Any]
    reply: str


@dataclass(frozen=True)
class Situation:
    """The whole input of a step."""

    data: Any
    prompt: str = ""
    context: Mapping[str, Any] | None = None
    memories: Sequence[str] = ()
    tools: Sequence[Mapping[str, Any]] = ()
    turns: Sequence[Turn] = ()
    choices: Sequence[str] = ()

    @property
    def is_plain(self) -> bool:
        """No agent is at work: the data is asked as a training line asks it, and nothing else."""
        return not self.tools and not self.prompt


def tools_of(situation: Situation) -> list[dict[str, Any]]:
    """The tools on offer, for the template: the company's, or those that plain data brings.

    Raises `UserError` where both are there: the data's are nothing that could be called.
    """
    brought = question_of(situation.data).tools
    if not brought:
        return list(ordered_tools(situation.tools))
    if not situation.is_plain:
        message = "data.tools: the agent's own tools are on offer; leave them out"
        raise UserError("invalid_data", message, param="data.tools")
    return list(brought)


def messages_of(situation: Situation) -> list[Message]:
    """The conversation so far, in the form of a training line's `messages`."""
    asked = prompt_of_job(situation.data)
    if situation.is_plain:
        return asked
    about = _about(situation)
    if asked[0]["role"] == "system":  # one system message: templates refuse a second
        about = "\n\n".join(part for part in (about, asked[0]["content"]) if part)
        asked = asked[1:]
    system: list[Message] = [{"role": "system", "content": about}] if about else []
    by_name = {tool["function"]["name"]: tool for tool in tools_of(situation)}
    return [
        *system,
        *asked,
        *(message for turn in situation.turns for message in _exchange(turn, by_name)),
    ]


def _about(situation: Situation) -> str:
    parts = [situation.prompt] if situation.prompt else []
    if situation.context:
        parts.append(f"About the company: {content_of(situation.context)}")
    if situation.memories:
        parts.append("Remembered:\n" + "\n".join(f"- {memory}" for memory in situation.memories))
    return "\n\n".join(parts)


def _exchange(turn: Turn, tools: Mapping[str, Mapping[str, Any]]) -> list[Message]:
    arguments = ordered_arguments(turn.arguments, tools.get(turn.tool))
    call = {
        "id": turn.call_id,
        "type": "function",
        "function": {"name": turn.tool, "arguments": arguments},
    }
    return [
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": turn.reply, "tool_call_id": turn.call_id, "name": turn.tool},
    ]


def call_format(template: ChatTemplate) -> CallFormat:
    """How the base writes a call. Raises `UserError` for a base that cannot."""
    found = CallFormat.of(template)
    if found is None:
        raise UserError(
            "tools_unsupported", "the base model's chat template has no form for a call of a tool"
        )
    return found


def grammar_of(situation: Situation, template: ChatTemplate) -> Grammar | None:
    """The grammar of the next turn: a valid call of a tool, or a final answer. None: any text."""
    final = alternatives(situation.choices) if situation.choices else ""
    if not situation.tools:
        return Grammar.choices(situation.choices) if situation.choices else None
    shape = call_format(template)
    tools = tools_of(situation)
    calls = [f"call{i}" for i in range(len(tools))]
    lines = [f"start: {' | '.join(calls)} | final"]
    for rule, tool in zip(calls, tools, strict=True):
        opening = f"{shape.prefix}{json.dumps(tool['function']['name'])[1:-1]}{shape.middle}"
        body = f"{_spelled(opening, template)} {rule}_arguments {_spelled(shape.closing, template)}"
        lines.append(f"{rule}: {body}")
        lines.append(f"{rule}_arguments: %json {_schema_of(tool, shape)}")
    if final:
        lines.append(f"final: {final}")
    else:
        lines += ["final: TEXT", f"TEXT: {_free_text(shape, template)}"]
    return Grammar.lark("\n".join(lines))


def _schema_of(tool: Mapping[str, Any], shape: CallFormat) -> str:
    """The tool's parameters, to be written as the template would write them."""
    schema = dict(tool["function"].get("parameters") or {})
    schema.setdefault("type", "object")
    # Arguments that the schema does not name are valid to it, and mean nothing to the tool.
    if schema.get("properties"):
        schema.setdefault("additionalProperties", False)
    item, key = shape.separators
    style = {"item_separator": item, "key_separator": key, "whitespace_flexible": False}
    return json.dumps({"x-guidance": style, **schema})


def _spelled(text: str, template: ChatTemplate) -> str:
    """`text` in Lark: control tokens by their number, all else as strings."""
    names = "|".join(re.escape(token) for token in template.control_tokens)
    parts = re.split(f"({names})", text) if names else [text]
    ids = template.token_ids
    return " ".join(f"<[{ids[p]}]>" if p in ids else literal(p) for p in parts if p) or '""'


def _free_text(shape: CallFormat, template: ChatTemplate) -> str:
    """The regular expression of text that does not begin like a call.

    A prefix that is a control token needs none: control tokens are never part of text.
    """
    if any(shape.prefix.startswith(token) for token in template.control_tokens):
        return ANY_TEXT
    opening = re.sub(r"([^\w\s])", r"\\\1", shape.prefix.rstrip()).replace("\n", "\\n")
    return f"{ANY_TEXT} & ~/(?s:{opening}.*)/"


def decide(
    text: str, cut_off: bool, situation: Situation, template: ChatTemplate
) -> CallTool | FinalAnswer:
    """The decision that the model's text means. Raises `UserError` for a text cut off too early."""
    if situation.tools:
        try:
            found = call_format(template).read(text)
        except ValueError:
            found = None
            cut_off = True
        if found is not None:
            return CallTool(*found)
        if cut_off and text.startswith(call_format(template).prefix):
            message = "the model's call did not fit into the tokens of a step"
            raise UserError("call_cut_off", message)
    if situation.choices and text not in situation.choices:
        message = "none of the choices fitted into the tokens that were left"
        raise UserError("choice_cut_off", message, param="choices")
    return FinalAnswer(text)


def tokens_left(limits: AgentLimits, steps: int, tokens: int, seconds: float) -> int:
    """Tokens that the next step may generate. Raises `UserError` when a limit is reached.

    steps, tokens, seconds: what the job has used.
    """
    reached = [
        (steps >= limits.steps, "steps", limits.steps),
        (tokens >= limits.tokens, "tokens", limits.tokens),
        (seconds >= limits.seconds, "seconds", limits.seconds),
    ]
    for is_reached, name, limit in reached:
        if is_reached:
            raise UserError(
                f"{name}_exceeded",
                f"no final answer within the agent's limit of {limit:g} {name}",
                param=f"limits.{name}",
            )
    return limits.tokens - tokens
