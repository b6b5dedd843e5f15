from __future__ import annotations

from alembic.script import ScriptDirectory

from database.migrate import SCRIPTS, config


def test_the_migrations_are_one_line_to_one_head() -> None:
    scripts = ScriptDirectory.from_config(config())
    assert len(scripts.get_heads()) == len(scripts.get_bases()) == 1
    found = list(scripts.walk_revisions())
    assert len(found) == len(list((SCRIPTS / "versions").glob("[!_]*.py")))
    assert not [revision for revision in found if revision.is_branch_point]
