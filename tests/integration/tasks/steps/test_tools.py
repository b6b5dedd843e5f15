"""The life of a tool call: at most once, whatever dies; its job is told how it ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from celery.exceptions import Ignore
from cryptography.fernet import Fernet

from cyrex.errors import UserError
from cyrex.tools import calls as tools
from cyrex.tools import steps as tool_calls
from cyrex.tools.send import TRIES
from cyrex.tools.service import delete_tool, parse_tools, register
from cyrex.work.admission import admit_rows
from cyrex.work.lease import Lease
from database import claims
from database.models import Job, ToolCall, Worker
from database.session import company_session, operator_session
from database.transitions import TOOL_CALL
from settings import REPOSITORY
from tasks.broker import connection, dispatch
from tasks.steps.tools import call as task
from tasks.upkeep import reconciler
from tasks.workers import presence as worker
from tasks.workers.presence import Presence
from tests.support import rows
from tests.support.broker import PRIORITY, use_broker
from tests.support.proxy import Proxy
from tests.support.tool_server import ToolServer, tool_server, variables
from tests.support.waiting import eventually

pytestmark = pytest.mark.usefixtures("presence")

KEY = Fernet.generate_key().decode()


@pytest.fixture(scope="module")
def presence(database_url: str, redis_url: str) -> Iterator[Presence]:
    """This process as a worker."""
    use_broker(redis_url)
    before = worker._presence
    worker._presence = Presence("tools@test", ["tools"], dict)
    worker._presence.start()
    yield worker._presence
    worker._presence.stop()
    worker._presence = before


@pytest.fixture
def server(presence: Presence) -> Iterator[ToolServer]:
    with (
        tool_server() as running,
        variables(
            TOOL_ALLOWED_HOSTS=running.host,
            TOOL_SECRETS_KEY=KEY,
            TOOL_CONNECT_SECONDS="1",
            TOOL_READ_SECONDS="1",
        ),
    ):
        yield running


def new_tool(company_id: str, url: str, name: str = "crm", **fields: Any) -> None:
    with company_session(company_id) as session:
        register(session, company_id, parse_tools([{"name": name, "endpoint": url, **fields}]))


def new_call(company_id: str, name: str = "crm", arguments: Any = None, **values: Any) -> ToolCall:
    """A call of a job that waits for it, as the agent leaves them."""
    job_id = rows.job(company_id, status="waiting", **values)
    with company_session(company_id) as session:
        job = session.get_one(Job, job_id)
        row = tools.create_call(session, job, name, arguments or {"email": "jo"})
        admit_rows(session, TOOL_CALL, company_id)
        return row


def run(row: ToolCall) -> ToolCall:
    """What a worker does with the message about this row; the row afterwards."""
    with pytest.raises(Ignore):
        task(row.company_id, row.call_id, "call", row.attempt)
    return get(row)


def get(row: ToolCall) -> ToolCall:
    found: ToolCall = rows.get(ToolCall, row.call_id)
    return found


def job_status(row: ToolCall) -> str:
    return str(rows.get(Job, row.job_id).status)


def hints(queue: str) -> int:
    """Messages of all priorities."""
    lists = [queue, *(f"{queue}{PRIORITY}{number}" for number in range(1, 10))]
    return sum(int(connection.broker().llen(name)) for name in lists)  # type: ignore[arg-type]


def test_a_call_is_made_and_its_job_goes_on(server: ToolServer) -> None:
    acme = rows.company()
    auth = {"type": "api_key", "header": "X-Key", "key": "t0p-secret"}
    new_tool(acme, server.answers("/crm", 200, {"name": "Jo"}), auth=auth)
    before = hints("inference")
    row = run(new_call(acme))
    assert (row.status, row.error) == ("completed", None)
    assert row.result is not None
    assert (row.result["status_code"], row.result["body"]) == (200, {"name": "Jo"})
    (seen,) = server.seen
    assert (seen.method, seen.json) == ("POST", {"email": "jo"})
    assert seen.headers["X-Key"] == "t0p-secret"
    assert "Idempotency-Key" not in seen.headers
    assert row.sent_at is not None
    assert job_status(row) == "admitted"
    assert hints("inference") == before + 1
    assert tools.reply_of(row) == '{"name":"Jo"}'


def test_a_get_carries_its_arguments_in_the_query(server: ToolServer) -> None:
    acme = rows.company()
    new_tool(acme, server.url("/find?v=1"), method="GET", parameters={"type": "object"})
    run(new_call(acme, arguments={"q": "a&b c", "n": 3, "all": True}))
    assert server.seen[0].query == {"v": ["1"], "q": ["a&b c"], "n": ["3"], "all": ["true"]}
    assert server.seen[0].body == b""


@pytest.mark.parametrize("status", [400, 404, 500])
def test_an_error_of_the_tool_is_a_failure_that_the_agent_sees(
    server: ToolServer, status: int
) -> None:
    acme = rows.company()
    new_tool(acme, server.answers("/crm", status, {"why": "no such customer"}))
    row = run(new_call(acme))
    assert row.status == "failed"
    assert len(server.seen) == 1
    assert f"the tool answered {status}" in tools.reply_of(row)
    assert "no such customer" in tools.reply_of(row)
    assert job_status(row) == "admitted"
    view = tools.call_view(row)
    assert (view["status_code"], view["result"]) == (status, {"why": "no such customer"})


def test_a_tool_that_repeats_its_secrets_does_not_bring_them_to_light(server: ToolServer) -> None:
    acme = rows.company()
    new_tool(acme, server.url("/echo"), auth={"type": "bearer", "token": "t0p-secret"})
    row = run(new_call(acme))
    assert server.seen[0].headers["Authorization"] == "Bearer t0p-secret"
    assert "t0p-secret" not in str(rows.columns(row))
    assert row.result is not None
    assert row.result["body"]["headers"]["Authorization"] == "Bearer [secret]"


def test_the_same_message_twice_is_one_call(server: ToolServer) -> None:
    acme = rows.company()
    new_tool(acme, server.url("/crm"))
    row = new_call(acme)
    run(row)
    ended = rows.columns(get(row))
    run(row)
    assert len(server.seen) == 1
    assert rows.columns(get(row)) == ended


def test_no_answer_is_unknown_and_not_tried_again(server: ToolServer) -> None:
    acme = rows.company()
    new_tool(acme, server.route("/crm", lambda _: time.sleep(3)))
    row = run(new_call(acme))
    assert row.status == "unknown"
    assert len(server.seen) == 1
    assert "whether the tool acted is not known" in tools.reply_of(row)
    assert job_status(row) == "admitted"


def test_an_idempotent_tool_is_asked_again_under_the_same_key(server: ToolServer) -> None:
    acme = rows.company()

    def third_time_lucky(handler: Any) -> None:
        if len(server.seen) == 2:
            handler.answer(503, b"", retry_after="1")
        elif len(server.seen) == 3:
            handler.answer(200, {"ok": True})

    new_tool(acme, server.route("/crm", third_time_lucky), idempotent=True)
    row = run(new_call(acme))
    assert (row.status, len(server.seen)) == ("completed", 3)
    assert {seen.headers["Idempotency-Key"] for seen in server.seen} == {row.call_id}


def test_an_endpoint_that_is_refused_is_told(server: ToolServer) -> None:
    acme = rows.company()
    new_tool(acme, server.url("/crm"))
    row = new_call(acme)
    with variables(TOOL_ALLOWED_HOSTS=""):
        row = run(row)
    assert row.status == "failed"
    assert row.error is not None
    assert row.error["code"] == "address_refused"
    assert row.sent_at is None
    assert server.seen == []
    assert job_status(row) == "admitted"


def test_a_tool_that_is_gone_or_a_job_that_has_ended(server: ToolServer) -> None:
    acme = rows.company()
    new_tool(acme, server.url("/crm"))
    gone, ended = new_call(acme), new_call(acme)
    rows.change(Job, ended.job_id, status="cancelled")
    assert (run(ended).error or {})["code"] == "job_ended"
    with company_session(acme) as session:
        delete_tool(session, acme, "crm")
    row = run(gone)
    assert (row.status, (row.error or {})["code"]) == ("failed", "tool_not_found")
    assert job_status(row) == "admitted"
    assert job_status(ended) == "cancelled"
    assert server.seen == []


def test_a_call_must_fit_its_tool(server: ToolServer) -> None:
    acme = rows.company()
    new_tool(acme, server.url("/crm"))
    for name, arguments, code in (
        ("crm", {"email": 1}, "invalid_arguments"),
        ("erp", {"email": "x"}, "tool_not_found"),
    ):
        with pytest.raises(UserError) as refused:
            new_call(acme, name, arguments)
        assert refused.value.code == code


# ---- crashes -------------------------------------------------------------------------------

WORKER = """
import sys
from tasks.workers import presence as worker
worker._presence = worker.Presence("doomed", ["tools"], dict)
worker._presence.start()
from tasks.steps.tools import call
call(sys.argv[1], sys.argv[2], "call", 1)
"""


def killed_on_the_way(server: ToolServer, row: ToolCall) -> ToolCall:
    """A worker process is killed while the tool holds its request; the reconciler frees the row."""
    doomed = subprocess.Popen(
        [sys.executable, "-c", WORKER, row.company_id, row.call_id],
        cwd=REPOSITORY,
        env={**os.environ, "TOOL_READ_SECONDS": "30"},
    )
    eventually(lambda: server.seen, 20)
    os.kill(doomed.pid, signal.SIGKILL)
    doomed.wait()
    left = get(row)
    assert left.status == "running"
    assert left.sent_at is not None
    assert left.lease_owner is not None
    return freed(row)


def test_a_worker_killed_after_sending_leaves_an_unknown_outcome(server: ToolServer) -> None:
    acme = rows.company()
    new_tool(acme, server.route("/crm", lambda _: time.sleep(20)))
    row = run(killed_on_the_way(server, new_call(acme)))
    assert row.status == "unknown"
    assert (row.error or {})["code"] == "outcome_unknown"
    assert len(server.seen) == 1
    assert job_status(row) == "admitted"


def test_an_idempotent_call_is_taken_up_again_after_a_kill(server: ToolServer) -> None:
    acme = rows.company()
    new_tool(acme, server.route("/crm", lambda _: time.sleep(20)), idempotent=True)
    row = killed_on_the_way(server, new_call(acme))
    server.answers("/crm", 200, {"ok": True})
    row = run(row)
    assert row.status == "completed"
    assert [seen.headers["Idempotency-Key"] for seen in server.seen] == [row.call_id] * 2


ANSWERED = """
import os, signal
from cyrex.tools import steps as tool_calls
real = tool_calls.send
def send(*arguments, **named):
    real(*arguments, **named)
    os.kill(os.getpid(), signal.SIGKILL)
tool_calls.send = send
"""


def killed_before_storing(row: ToolCall) -> ToolCall:
    """The tool has acted and answered; the worker dies with the answer in its hands."""
    doomed = subprocess.run([sys.executable, "-c", ANSWERED + WORKER, row.company_id, row.call_id])
    assert doomed.returncode == -signal.SIGKILL
    return freed(row)


def freed(row: ToolCall) -> ToolCall:
    """The reconciler's part when the owner of a call is gone."""
    rows.change(Worker, str(get(row).lease_owner), heartbeat_at=rows.ago(60))
    with operator_session() as session:
        (orphan,) = claims.orphans(session, TOOL_CALL, 9)
        Lease.held(TOOL_CALL, orphan).release(session, orphan, "worker lost")
    return get(row)


def test_an_answer_that_nobody_stored_is_an_unknown_outcome(server: ToolServer) -> None:
    acme = rows.company()
    new_tool(acme, server.answers("/crm", 200, {"ok": True}))
    row = run(killed_before_storing(new_call(acme)))
    assert (row.status, (row.error or {})["code"]) == ("unknown", "outcome_unknown")
    assert len(server.seen) == 1
    assert "whether the tool acted is not known" in tools.reply_of(row)
    assert tools.call_view(row)["status"] == "unknown"
    assert job_status(row) == "admitted"


def test_an_idempotent_tool_hears_the_same_key_from_the_next_worker(server: ToolServer) -> None:
    acme = rows.company()
    new_tool(acme, server.answers("/crm", 200, {"ok": True}), idempotent=True)
    row = run(killed_before_storing(new_call(acme)))
    assert row.status == "completed"
    assert [seen.headers["Idempotency-Key"] for seen in server.seen] == [row.call_id] * 2


@pytest.mark.parametrize("change", ["became idempotent", "moved", "deleted", "job ended"])
def test_what_was_sent_is_not_sent_again_when_the_tool_or_the_job_has_changed(
    server: ToolServer, change: str
) -> None:
    acme = rows.company()
    url = server.answers("/crm", 200, {"ok": True})
    new_tool(acme, url, idempotent=change != "became idempotent")
    row = killed_before_storing(new_call(acme))
    if change == "job ended":
        rows.change(Job, row.job_id, status="cancelled")
    elif change == "deleted":
        with company_session(acme) as session:
            delete_tool(session, acme, "crm")
    else:
        new_tool(acme, url if change != "moved" else server.url("/new"), idempotent=True)
    row = run(row)
    assert row.status == "unknown"
    assert len(server.seen) == 1


def test_a_call_given_up_after_it_was_sent_is_unknown_and_not_failed(server: ToolServer) -> None:
    acme = rows.company()
    new_tool(acme, server.answers("/crm", 200, {"ok": True}), idempotent=True)
    row = new_call(acme)
    rows.change(ToolCall, row.call_id, failures=2)
    row = killed_before_storing(row)
    assert (row.status, (row.error or {})["code"]) == ("unknown", "gave_up")
    unsent = new_call(acme)
    with company_session(acme) as session:
        claimed = Lease(TOOL_CALL, acme, unsent.call_id, "call", 1, "w").claim(session)
    rows.change(ToolCall, unsent.call_id, failures=2)
    assert claimed is not None
    claimed.failures = 2
    with operator_session() as session:
        Lease.held(TOOL_CALL, claimed).release(session, claimed, "worker lost")
    assert get(unsent).status == "failed"


def test_a_try_that_may_have_acted_is_not_forgotten_by_the_next(server: ToolServer) -> None:
    acme = rows.company()

    def late_then_gone(handler: Any) -> None:
        if len(server.seen) == 1:
            time.sleep(1.5)
        else:
            handler.answer(500, b"")

    new_tool(acme, server.route("/crm", late_then_gone), idempotent=True)
    row = run(new_call(acme))
    assert row.status == "unknown"
    assert len(server.seen) == TRIES
    assert "the tool answered 500" in tools.reply_of(row)


def test_a_stale_owner_sends_nothing(server: ToolServer, monkeypatch: pytest.MonkeyPatch) -> None:
    acme = rows.company()
    new_tool(acme, server.url("/crm"))
    row = new_call(acme)
    real = tool_calls.send

    def late(*arguments: Any, **named: Any) -> Any:
        # While this worker slept, its lease went to another.
        rows.change(ToolCall, row.call_id, attempt=2, lease_owner="another")
        return real(*arguments, **named)

    monkeypatch.setattr(tool_calls, "send", late)
    run(row)
    assert server.seen == []
    assert get(row).lease_owner == "another"


# ---- many calls ----------------------------------------------------------------------------


def asked_for(company_id: str, count: int) -> list[ToolCall]:
    """Calls as the agent's steps leave them, one job after the other."""
    made = []
    for _ in range(count):
        with company_session(company_id) as session:
            job = session.get_one(Job, rows.job(company_id, status="waiting"))
            made.append(tools.create_call(session, job, "crm", {"email": "jo"}))
            admitted = admit_rows(session, TOOL_CALL, company_id)
        dispatch.publish(TOOL_CALL, admitted)
    return made


def test_a_company_whose_tool_hangs_does_not_keep_others_waiting(server: ToolServer) -> None:
    acme, globex = rows.company(), rows.company()
    for company_id in (acme, globex):
        new_tool(company_id, server.answers("/crm", 200, {"ok": True}))
    before = hints("tools")
    many = asked_for(acme, 12)
    assert hints("tools") == before + 8, "the others wait in nobody's way"
    (other,) = asked_for(globex, 1)
    assert get(other).status == "admitted"
    assert [get(row).status for row in many] == ["admitted"] * 8 + ["queued"] * 4
    # The end of one makes room for the next.
    assert run(many[0]).status == "completed"
    assert [get(row).status for row in many[8:]] == ["admitted"] + ["queued"] * 3
    assert run(many[8]).status == "completed"


def test_calls_that_are_put_off_take_no_place(server: ToolServer) -> None:
    acme = rows.company()
    new_tool(acme, server.answers("/crm", 200, {"ok": True}))
    many = asked_for(acme, 10)
    later = {"status": "running", "published_at": rows.ago(-30)}
    for row in many[:8]:
        rows.change(ToolCall, row.call_id, **later)
    with operator_session() as session:
        assert ("tool", acme) in reconciler._companies_with_room(session)
    dispatch.admit("tool", acme)
    assert [get(row).status for row in many[8:]] == ["admitted"] * 2


# ---- rate limits ---------------------------------------------------------------------------


def test_a_short_wait_is_waited_for(server: ToolServer) -> None:
    acme = rows.company()
    new_tool(acme, server.url("/crm"), rate_limit={"requests": 1, "window": 1})
    run(new_call(acme))
    assert run(new_call(acme)).status == "completed"
    first, second = (seen.at for seen in server.seen)
    assert second - first > 0.95


def test_a_long_wait_is_spent_in_the_database(server: ToolServer) -> None:
    acme = rows.company()
    new_tool(acme, server.url("/crm"), rate_limit={"requests": 1, "window": 30})
    run(new_call(acme))
    row = run(new_call(acme))
    assert (row.status, row.lease_owner, row.attempt) == ("running", None, 2)
    assert (row.failures, row.history, row.sent_at) == (0, [], None)
    assert len(server.seen) == 1
    # Due for its next hint when its turn comes: the reconciler waits five seconds more.
    assert row.published_at is not None
    turn = row.published_at + timedelta(seconds=tool_calls.HINT_SECONDS) - datetime.now(UTC)
    assert timedelta(seconds=25) < turn <= timedelta(seconds=30)


def test_a_turn_after_the_deadline_is_a_failure(server: ToolServer) -> None:
    acme = rows.company()
    new_tool(acme, server.url("/crm"), rate_limit={"requests": 1, "window": 3600})
    run(new_call(acme))
    row = run(new_call(acme, deadline_at=rows.ago(-60)))
    assert (row.status, (row.error or {})["code"]) == ("failed", "rate_limited")
    assert len(server.seen) == 1
    assert job_status(row) == "admitted"


def test_without_redis_a_limited_call_is_put_off_as_in_an_outage(
    server: ToolServer, redis_url: str
) -> None:
    acme = rows.company()
    new_tool(acme, server.url("/crm"), rate_limit={"requests": 9, "window": 1})
    row = new_call(acme)
    proxy = Proxy(redis_url)
    use_broker(proxy.url)
    with variables(REDIS_URL=proxy.url):
        proxy.cut()
        row = run(row)
        assert (row.status, row.lease_owner, row.failures) == ("running", None, 0)
        assert server.seen == []
        proxy.restore()
        row = run(row)
    use_broker(redis_url)
    assert row.status == "completed"
    assert isinstance(connection.broker(), redis.Redis)
