"""The demo's third company: its model asks the company's own server, and remembers the answers.

Then, in a second run beside the same stack stopped and started: all of it is still there.
"""

from __future__ import annotations

import json
import random
import secrets
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from demo import shop as demo_shop
from demo.client import Api
from demo.main_job import Demo, DemoCompany
from demo.shop import Order, Shop
from embedded.layout import write_private

NAME = "initech"
SEED = 7
EXAMPLES = 120
EPOCHS = 2
ORDERS = 12
# As many as a job is shown unless its agent's limits say otherwise.
MEMORIES = 3
SHOWN = 2
NEWEST = 20
CALLERS = 4
TOKEN_BYTES = 24

Say = Callable[[str], None]


def training_lines(count: int) -> Iterator[dict[str, Any]]:
    """Conversations in OpenAI's form: a question, the tool's call, its reply, what to say of it."""
    drawn = random.Random(SEED)
    made = demo_shop.orders(drawn, count)
    function = {
        "name": demo_shop.NAME,
        "description": demo_shop.DESCRIPTION,
        "parameters": demo_shop.PARAMETERS,
    }
    for order in made:
        # The order may have been asked for before; its state may have changed, so ask again.
        some = [order, *drawn.sample(made, MEMORIES)]
        remembered = drawn.sample(some, drawn.randint(0, MEMORIES))
        yield {
            "tools": [{"type": "function", "function": function}],
            "messages": [*_memory(drawn, remembered), *_conversation(drawn, order)],
        }


def _memory(drawn: random.Random, remembered: Sequence[Order]) -> list[dict[str, Any]]:
    """The system message that shows a job what is remembered of earlier ones."""
    if not remembered:
        return []
    entries = [
        f"- automation: {demo_shop.question(drawn, order)} → {order.answer}" for order in remembered
    ]
    return [{"role": "system", "content": "\n".join(["Remembered:", *entries])}]


def _conversation(drawn: random.Random, order: Order) -> list[dict[str, Any]]:
    call = {"name": demo_shop.NAME, "arguments": {"order_id": order.order_id}}
    reply = json.dumps(asdict(order), sort_keys=True, separators=(",", ":"))
    return [
        {"role": "user", "content": demo_shop.question(drawn, order)},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"id": "call00001", "type": "function", "function": call}],
        },
        {"role": "tool", "content": reply, "tool_call_id": "call00001"},
        {"role": "assistant", "content": order.answer},
    ]


class Desk:
    """A company that asks its own server about orders."""

    def __init__(self, api: Api, shop: Shop, say: Say) -> None:
        self.api = api
        self.shop = shop
        self.say = say

    def register(self) -> None:
        self.say(f"{NAME} has a server of its own, {self.shop.url}, that knows its orders")
        body = {"tools": [self.shop.definition]}
        (tool,) = self.api.post("/company-automation/register-tools", body)["tools"]
        self.say(
            f"POST /company-automation/register-tools → {tool['name']}: {tool['method']} "
            f"{tool['endpoint']}, auth {tool['auth']['type']}; its token is never shown again"
        )

    def train(self, demo: Demo, company: DemoCompany) -> None:
        answer = self.api.post(
            "/company-automation/train-adapter",
            {
                "training_data": list(training_lines(EXAMPLES)),
                "config": {"num_epochs": EPOCHS},
                "seed": SEED,
            },
        )
        self.say(
            f"POST /company-automation/train-adapter → {NAME}: LoRA on {EXAMPLES} conversations "
            f"about other orders, {answer['status']}"
        )
        trained = demo.follow({company: str(answer["request_id"])})
        demo.await_decision(company, trained[NAME]["adapter_id"])

    def ask(self, order: Order) -> None:
        """One job, step by step. Ends the demo if it failed, or never asked the server."""
        asked = f"Where is order {order.order_id}?"
        self.say(f"POST /company-automation/process: {asked!r}")
        heard = len(self.shop.asked)
        job = self.api.process({"input": asked})
        calls = {call["call_id"]: call for call in job["tool_results"]}
        for step in job["steps"]:
            if step["kind"] == "call":
                call = calls[step["call_id"]]
                self.say(f"  the model calls   {step['tool']}({json.dumps(step['arguments'])})")
                self.say(f"  the tool answers  {call['status_code']} {json.dumps(call['result'])}")
            else:
                self.say(f"  the result        {step['text']}")
        if job["status"] != "completed":
            raise SystemExit(f"job {job['job_id']} {job['status']}: {job['error']}")
        if job["result"] != order.answer:
            self.say(f"  which is wrong    {order.answer}")
        if self.shop.asked[heard:] != [order.order_id]:
            raise SystemExit(f"the server was asked for {self.shop.asked[heard:]}")

    def ask_many(self, orders: Sequence[Order]) -> None:
        def is_right(order: Order) -> bool:
            job = self.api.process({"input": f"When does order {order.order_id} arrive?"})
            return bool(job["result"] == order.answer)

        with ThreadPoolExecutor(CALLERS) as pool:
            right = sum(pool.map(is_right, orders))
        self.say(f"{len(orders)} more orders: {right} results say exactly what the server knows")


def first(demo: Demo, state: Path) -> None:
    """Before the restart. Leaves in `state` what `again` needs, keys too."""
    company = demo.create(NAME, use_qlora=False)
    known = demo_shop.orders(random.SystemRandom(), ORDERS)
    with Shop(known, secrets.token_urlsafe(TOKEN_BYTES)) as shop:
        desk = Desk(company.api, shop, demo.say)
        desk.register()
        desk.train(demo, company)
        desk.ask(known[0])
        show_memory(company.api, demo.say)
        desk.ask_many(known[1:])
    kept = {
        "companies": [_kept(demo, each) for each in (*demo.companies, company)],
        "shop": {
            "port": shop.port,
            "token": shop.token,
            "orders": [asdict(order) for order in known],
        },
    }
    write_private(state, json.dumps(kept, indent=2) + "\n")


def _kept(demo: Demo, company: DemoCompany) -> dict[str, Any]:
    kept = {"name": company.name, "key": company.key}
    if company.name != NAME:
        asked = demo.test[0].text
        kept |= {"asked": asked, "answered": company.api.process({"input": asked})["result"]}
    return {**kept, "belongings": belongings(company.api)}


def belongings(api: Api) -> dict[str, list[str]]:
    """A company's belongings, by the names and ids that the API lists."""
    found = {
        "adapters": ("adapter_id", api.get("/company-automation/adapters")),
        "tools": ("name", api.get("/company-automation/tools")),
        "memory": ("memory_id", api.get("/company-automation/memory", limit=NEWEST)),
    }
    return {kind: [row[name] for row in page[kind]] for kind, (name, page) in found.items()}


def show_memory(api: Api, say: Say) -> None:
    say("GET /company-automation/memory, the newest:")
    for entry in api.get("/company-automation/memory", limit=SHOWN)["memory"]:
        say(f"  {entry['content']}")


def again(state: Path, api_url: str, say: Say) -> None:
    """After the restart: the same keys find the same things, and the same models answer."""
    say("everything was stopped and started again; now with the same keys:")
    kept = json.loads(state.read_text())
    for company in kept["companies"]:
        name, api = company["name"], Api(api_url, company["key"])
        _compare(name, company["belongings"], belongings(api), say)
        if name == NAME:
            _ask_shop(api, kept["shop"], say)
            show_memory(api, say)
            continue
        job = api.process({"input": company["asked"]})
        say(f"  {company['asked']!r} → {job['result']!r}, as before")
        if job["result"] != company["answered"]:
            raise SystemExit(f"{name}: it was {company['answered']!r} before the restart")


def _compare(name: str, before: dict[str, list[str]], now: dict[str, list[str]], say: Say) -> None:
    say(f"{name}: adapter {', '.join(now['adapters'])}")
    say(f"  tools: {', '.join(now['tools']) or 'none'}; the newest {len(now['memory'])} memories")
    for kind, ids in before.items():
        if now[kind] != ids:
            raise SystemExit(f"{name}: {kind} before the restart were {ids}, now {now[kind]}")


def _ask_shop(api: Api, kept: dict[str, Any], say: Say) -> None:
    orders = [Order(**order) for order in kept["orders"]]
    with Shop(orders, kept["token"], kept["port"]) as shop:
        Desk(api, shop, say).ask(orders[0])
