"""Roles, grants and row-level security: no company reads or changes another's rows.

The roles cannot log in; a transaction takes one with SET LOCAL ROLE. They belong to the whole
cluster, so several databases share them, and the downgrade drops one only when nothing uses it.
"""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

ROLES = ("cyrex_web", "cyrex_worker", "cyrex_operator")

COMPANY_TABLES = (
    "adapter_aliases",
    "agents",
    "api_keys",
    "companies",
    "company_automation_jobs",
    "company_memory",
    "company_tools",
    "dead_letters",
    "datasets",
    "decisions",
    "examples",
    "feedback",
    "job_steps",
    "lora_adapters",
    "outbox",
    "retraining_schedules",
    "tool_calls",
    "training_checkpoints",
    "training_events",
    "training_runs",
    "usage",
    "webhook_deliveries",
)
# Tables with no company of their own.
SHARED_TABLES = ("inbox", "workers")

# What the API may only read: these are written where the work is done.
WEB_READS = {
    "adapter_aliases",
    "company_memory",
    "dead_letters",
    "decisions",
    "examples",
    "job_steps",
    "tool_calls",
    "training_checkpoints",
    "usage",
    "webhook_deliveries",
}
# A worker has no business with keys.
WORKER_HIDDEN = {"api_keys"}

KEY_LOOKUP = """
CREATE FUNCTION find_api_key(wanted text)
RETURNS TABLE (prefix text, secret_sha256 text, scope text, company_id text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public AS $$
    SELECT k.prefix, k.secret_sha256, k.scope, k.company_id
    FROM public.api_keys AS k
    WHERE k.prefix = wanted AND k.revoked_at IS NULL
$$
"""

# A number and no row: how many unfinished runs, of any company, stand before this one.
TRAININGS_BEFORE = """
CREATE FUNCTION count_trainings_before(wanted text)
RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public AS $$
    SELECT count(*) FROM public.training_runs AS r
    WHERE r.status IN ('requested', 'queued', 'admitted', 'running')
    AND (r.created_at, r.request_id) < (
        SELECT w.created_at, w.request_id FROM public.training_runs AS w
        WHERE w.request_id = wanted
    )
$$
"""
FUNCTIONS = {"find_api_key(text)": KEY_LOOKUP, "count_trainings_before(text)": TRAININGS_BEFORE}


def _create_roles() -> None:
    for role in ROLES:
        op.execute(
            f"""
            DO $$ BEGIN
                CREATE ROLE {role} NOLOGIN NOBYPASSRLS;
            EXCEPTION WHEN duplicate_object THEN NULL;
            END $$
            """
        )
        # SET without INHERIT: the login role has these rights only where it asks for them.
        op.execute(f"GRANT {role} TO CURRENT_USER WITH INHERIT FALSE, SET TRUE")
        op.execute(f"GRANT USAGE ON SCHEMA public TO {role}")


def _protect(table: str) -> None:
    mine = "company_id = current_setting('app.company_id', true)"
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
    op.execute(
        f"CREATE POLICY company ON {table} TO cyrex_web, cyrex_worker"
        f" USING ({mine}) WITH CHECK ({mine})"
    )
    op.execute(
        f"CREATE POLICY operator ON {table} TO cyrex_operator USING (true) WITH CHECK (true)"
    )


def _grant(table: str) -> None:
    everything = "SELECT, INSERT, UPDATE, DELETE"
    op.execute(f"GRANT {everything} ON {table} TO cyrex_operator")
    op.execute(f"GRANT {'SELECT' if table in WEB_READS else everything} ON {table} TO cyrex_web")
    if table not in WORKER_HIDDEN:
        op.execute(f"GRANT {everything} ON {table} TO cyrex_worker")


def upgrade() -> None:
    _create_roles()
    for table in COMPANY_TABLES:
        _protect(table)
        _grant(table)
    # Keys of repeated requests name their owner, who is a company or the operator.
    op.execute("ALTER TABLE idempotency_keys ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
    op.execute(
        "CREATE POLICY company ON idempotency_keys TO cyrex_web"
        " USING (owner = current_setting('app.company_id', true))"
        " WITH CHECK (owner = current_setting('app.company_id', true))"
    )
    op.execute("CREATE POLICY operator ON idempotency_keys TO cyrex_operator USING (true)")
    op.execute(
        "GRANT SELECT, INSERT, UPDATE, DELETE ON idempotency_keys TO cyrex_web, cyrex_operator"
    )
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON inbox, workers TO cyrex_operator")
    op.execute("GRANT SELECT ON workers TO cyrex_web, cyrex_worker")
    # The two doors in the wall: they run as the operator and return no more than is written above.
    op.execute("GRANT CREATE ON SCHEMA public TO cyrex_operator")
    for signature, source in FUNCTIONS.items():
        op.execute(source)
        op.execute(f"REVOKE ALL ON FUNCTION {signature} FROM PUBLIC")
        op.execute(f"ALTER FUNCTION {signature} OWNER TO cyrex_operator")
    op.execute("REVOKE CREATE ON SCHEMA public FROM cyrex_operator")
    op.execute("SET LOCAL ROLE cyrex_operator")
    for signature in FUNCTIONS:
        op.execute(f"GRANT EXECUTE ON FUNCTION {signature} TO cyrex_web")
    op.execute("RESET ROLE")


def downgrade() -> None:
    op.execute("SET LOCAL ROLE cyrex_operator")
    for signature in FUNCTIONS:
        op.execute(f"DROP FUNCTION {signature}")
    op.execute("RESET ROLE")
    for table in (*COMPANY_TABLES, "idempotency_keys"):
        op.execute(f"DROP POLICY company ON {table}")
        op.execute(f"DROP POLICY operator ON {table}")
        op.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY, DISABLE ROW LEVEL SECURITY")
    for table in (*COMPANY_TABLES, *SHARED_TABLES, "idempotency_keys"):
        op.execute(f"REVOKE ALL ON {table} FROM {', '.join(ROLES)}")
    op.execute(f"REVOKE USAGE ON SCHEMA public FROM {', '.join(ROLES)}")
    for role in ROLES:
        op.execute(
            f"""
            DO $$ BEGIN
                DROP ROLE {role};
            EXCEPTION WHEN dependent_objects_still_exist OR insufficient_privilege THEN NULL;
            END $$
            """
        )
