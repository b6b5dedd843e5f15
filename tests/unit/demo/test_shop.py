"""The demo's tool server."""

from __future__ import annotations

import random
from dataclasses import asdict

import requests

from demo import shop as demo_shop


def test_server_answers_those_who_show_the_token() -> None:
    (order,) = demo_shop.orders(random.Random(1), 1)
    with demo_shop.Shop([order], "right") as shop:

        def ask(token: str, order_id: str) -> requests.Response:
            headers = {"Authorization": f"Bearer {token}"}
            return requests.post(shop.url, json={"order_id": order_id}, headers=headers, timeout=5)

        assert ask("right", order.order_id).json() == asdict(order)
        assert ask("wrong", order.order_id).status_code == 401
        assert ask("right", "1").status_code == 404
        assert shop.asked == [order.order_id]
