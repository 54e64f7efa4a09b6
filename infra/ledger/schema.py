"""The ledger's tables. A thing has happened when its row is committed.

Only a sweep's owner writes to `sweeps`, `trials`, `attempts`, `events` and `journal`; anybody writes to
`requests`. Documents are JSON text, times are seconds since 1970 in UTC.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

SCHEMA_VERSION = 1

metadata = MetaData()

_serial = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts up only INTEGER primary keys

meta = Table("velodrome_meta", metadata, Column("key", String(64), primary_key=True), Column("value", Text))

sweeps = Table(
    "sweeps",
    metadata,
    Column("id", _serial, primary_key=True),
    Column("name", String(64), nullable=False),
    Column("version", Integer, nullable=False),
    Column("state", String(16), nullable=False),  # running, finished, stopped, failed
    Column("spec", Text, nullable=False),
    Column("fingerprint", String(64), nullable=False),
    Column("facts", Text, nullable=False),  # git commit, versions, command, elapsed seconds
    Column("created_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
    UniqueConstraint("name", "version"),
)

owners = Table(
    "owners",
    metadata,
    Column("sweep_id", BigInteger, primary_key=True),
    Column("epoch", Integer, nullable=False),  # raised at each takeover; a writer with an older one is fenced
    Column("token", String(64), nullable=False),  # one driver process; empty when nobody owns the sweep
    Column("host", String(255), nullable=False),
    Column("pid", Integer, nullable=False),
    Column("pid_started_at", Float, nullable=False),  # seconds since its machine started
    Column("heartbeat_at", Float, nullable=False),  # by the database's clock
)

requests = Table(
    "requests",
    metadata,
    Column("id", _serial, primary_key=True),
    Column("sweep_id", BigInteger, nullable=False),
    Column("kind", String(32), nullable=False),  # stop, extend, retry
    Column("payload", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("done_at", Float),
)

journal = Table(  # Optuna's own operations, in order, for all studies of a sweep
    "journal",
    metadata,
    Column("sweep_id", BigInteger, primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("record", Text, nullable=False),
)

trials = Table(
    "trials",
    metadata,
    Column("sweep_id", BigInteger, primary_key=True),
    Column("role", String(16), primary_key=True),  # search or confirm
    Column("family", String(128), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("study_number", Integer),  # Optuna's number; None for confirmations
    Column("state", String(16), nullable=False),
    Column("params", Text, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("failures", Integer, nullable=False),  # attempts charged to the trial itself
    Column("objective", Text),  # one value a goal, at the kept epoch
    Column("epoch", Integer, nullable=False),  # the kept one
    Column("epochs", Integer, nullable=False),  # reports made
    Column("seconds", Float, nullable=False),  # over all attempts
    Column("reason", Text),
    Column("metrics", Text, nullable=False),
    Column("facts", Text, nullable=False),
    Column("model", Text),  # folder of the kept model, relative to the storage root
    Column("origin", Text),  # of a confirmation: which trial, which seed; of a search trial: how it was asked
    Column("resources", Text),  # overrides by `retry`
    Column("created_at", Float, nullable=False),
    Column("started_at", Float),
    Column("ended_at", Float),
)

attempts = Table(
    "attempts",
    metadata,
    Column("id", String(200), primary_key=True),
    Column("sweep_id", BigInteger, nullable=False),
    Column("role", String(16), nullable=False),
    Column("family", String(128), nullable=False),
    Column("number", Integer, nullable=False),
    Column("ordinal", Integer, nullable=False),  # 1 for the first
    Column("lane", String(200), nullable=False),
    Column("lane_facts", Text, nullable=False),  # host, pid, resources
    Column("started_at", Float, nullable=False),
    Column("ended_at", Float),
    Column("outcome", String(32)),
    Column("detail", Text),
    Index("attempts_by_trial", "sweep_id", "family", "number"),
)

events = Table(
    "events",
    metadata,
    Column("seq", _serial, primary_key=True),
    Column("sweep_id", BigInteger, nullable=False),
    Column("at", Float, nullable=False),
    Column("kind", String(32), nullable=False),
    Column("role", String(16)),
    Column("family", String(128)),
    Column("number", Integer),
    Column("payload", Text, nullable=False),
    Index("events_by_sweep", "sweep_id", "seq"),
    Index("events_by_trial", "sweep_id", "family", "number"),
)
