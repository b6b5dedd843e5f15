"""What a conversation used, metered once."""

from __future__ import annotations

from sqlalchemy.dialects.postgresql import insert

from database.base import new_id
from database.models import Usage
from database.session import company_session

KIND = "conversation"


def meter(
    company_id: str,
    conversation_id: str,
    adapter_id: str | None,
    prompt_tokens: int,
    completion_tokens: int,
) -> None:
    """Write the row of one answer; a second one for the same conversation changes nothing."""
    with company_session(company_id) as session:
        session.execute(
            insert(Usage)
            .values(
                id=new_id(),
                company_id=company_id,
                kind=KIND,
                reference=conversation_id,
                adapter_id=adapter_id,
                prompt_tokens=prompt_tokens,
                completion_tokens=completion_tokens,
            )
            .on_conflict_do_nothing()
        )
