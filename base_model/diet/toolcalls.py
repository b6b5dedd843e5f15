"""Tool calls: choosing one of several invented tools and copying its arguments."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from typing import Any

from base_model.diet import lexicon
from base_model.diet.example import Example, Message, ask, chat
from base_model.diet.extraction import Field, some_fields, value_of

# Name of the verb in a tool -> how people say it.
_VERBS = {
    "get": ("get", "show me", "look up", "fetch", "what is", "tell me"),
    "create": ("create", "open", "make", "add", "start", "set up"),
    "cancel": ("cancel", "call off", "drop", "stop"),
    "send": ("send", "mail", "forward", "dispatch"),
    "update": ("update", "change", "edit", "correct"),
    "delete": ("delete", "remove", "erase", "get rid of"),
    "find": ("find", "search for", "look for", "locate"),
    "list": ("list", "show all", "give me every"),
    "book": ("book", "reserve", "order"),
    "check": ("check", "verify", "test", "inspect"),
    "move": ("move", "shift", "relocate"),
    "lock": ("lock", "block", "freeze", "close"),
    "print": ("print", "print out"),
    "assign": ("assign", "hand over", "give"),
    "count": ("count", "how many"),
    "repair": ("repair", "fix", "mend"),
    "approve": ("approve", "accept", "confirm", "sign off"),
    "notify": ("notify", "tell", "inform", "alert"),
}
_NOUNS = [w for w in lexicon.THINGS if len(w) < 10 and w != "invoice"]
_WITH = (
    " with {k} {v}",
    " for {k} {v}",
    ", {k} {v}",
    " ({k}: {v})",
    " whose {k} is {v}",
    " {k} = {v}",
    " and {k} {v}",
    " {v}",
)
_ASKS = (
    "{v} the {n}{a}",
    "Please {v} the {n}{a}.",
    "Can you {v} the {n}{a}?",
    "I want to {v} a {n}{a}",
    "{v} {n}{a}",
    "Could you please {v} our {n}{a}?",
    "Time to {v} the {n}{a}!",
)
_RESULTS = ("done", "ok", "not found", "in progress", "queued", "ready")


@dataclass(frozen=True)
class Tool:
    """A function of a verb, a noun and its parameters."""

    verb: str
    noun: str
    fields: tuple[Field, ...]
    camel: bool

    @property
    def name(self) -> str:
        return self.verb + self.noun.capitalize() if self.camel else f"{self.verb}_{self.noun}"

    def spec(self) -> dict[str, Any]:
        properties = {f.key: {"type": "string"} for f in self.fields}
        parameters = {"type": "object", "properties": properties, "required": list(properties)}
        return {
            "name": self.name,
            "description": f"{self.verb} the {self.noun}",
            "parameters": parameters,
        }


def some_tools(rng: random.Random, count: int) -> list[Tool]:
    """Tools that differ in verb or noun; some share one of the two, so that both must be read."""
    tools: dict[tuple[str, str], Tool] = {}
    camel = rng.random() < 0.2
    nouns = rng.sample(_NOUNS, max(2, count - rng.randint(0, 2)))
    while len(tools) < count:
        verb, noun = rng.choice(list(_VERBS)), rng.choice(nouns)
        tools.setdefault(
            (verb, noun), Tool(verb, noun, tuple(some_fields(rng, rng.randint(1, 3))), camel)
        )
    return list(tools.values())


def request(tool: Tool, values: list[str], rng: random.Random) -> str:
    """A user's request for this call; it contains every value."""
    arguments = "".join(
        rng.choice(_WITH[:-1] if len(values) > 1 else _WITH).format(k=f.label, v=v)
        for f, v in zip(tool.fields, values, strict=True)
    )
    line = rng.choice(_ASKS).format(v=rng.choice(_VERBS[tool.verb]), n=tool.noun, a=arguments)
    return line[0].upper() + line[1:] if rng.random() < 0.5 else line


def native(rng: random.Random) -> Example:
    """Tools in the chat template's tools field; the answer is a tool call, or uses its result."""
    tools = some_tools(rng, rng.randint(1, 4))
    tool = rng.choice(tools)
    values = [value_of(f, rng) for f in tool.fields]
    arguments = {f.key: v for f, v in zip(tool.fields, values, strict=True)}
    messages: list[Message] = [
        {"role": "user", "content": request(tool, values, rng)},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"function": {"name": tool.name, "arguments": arguments}}],
        },
    ]
    if rng.random() < 0.3:
        result = rng.choice(_RESULTS)
        messages += [
            {"role": "tool", "content": json.dumps({"status": result})},
            {
                "role": "assistant",
                "content": rng.choice(["The {n} is {r}.", "{r}", "Status: {r}"]).format(
                    n=tool.noun, r=result
                ),
            },
        ]
    return chat(messages, [t.spec() for t in tools])


def written(rng: random.Random) -> Example:
    """Tools listed in the instruction or shown by earlier turns; the answer is JSON text."""
    tools = some_tools(rng, rng.randint(2, 5))
    outer, inner = rng.choice(
        [("tool", "arguments"), ("name", "arguments"), ("function", "args"), ("action", "input")]
    )
    compact = rng.random() < 0.5

    def turn(tool: Tool) -> tuple[str, str]:
        values = [value_of(f, rng) for f in tool.fields]
        call = {
            outer: tool.name,
            inner: {f.key: v for f, v in zip(tool.fields, values, strict=True)},
        }
        answer = json.dumps(call, ensure_ascii=False, separators=(",", ":") if compact else None)
        return request(tool, values, rng), answer

    listing = ", ".join(f"{t.name}({', '.join(f.key for f in t.fields)})" for t in tools)
    shape = json.dumps({outer: "...", inner: {}}, separators=(",", ":") if compact else None)
    question, answer = turn(rng.choice(tools))
    return ask(question, answer, system=f"Tools: {listing}\nAnswer like {shape}")
