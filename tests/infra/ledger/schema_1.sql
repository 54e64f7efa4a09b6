CREATE TABLE attempts (
    id VARCHAR(200) NOT NULL,
    sweep_id BIGINT NOT NULL,
    role VARCHAR(16) NOT NULL,
    family VARCHAR(128) NOT NULL,
    number INTEGER NOT NULL,
    ordinal INTEGER NOT NULL,
    lane VARCHAR(200) NOT NULL,
    lane_facts TEXT NOT NULL,
    started_at FLOAT NOT NULL,
    ended_at FLOAT,
    outcome VARCHAR(32),
    detail TEXT,
    PRIMARY KEY (id)
);
CREATE INDEX attempts_by_trial ON attempts (sweep_id, family, number);
CREATE TABLE events (
    seq BIGSERIAL NOT NULL,
    sweep_id BIGINT NOT NULL,
    at FLOAT NOT NULL,
    kind VARCHAR(32) NOT NULL,
    role VARCHAR(16),
    family VARCHAR(128),
    number INTEGER,
    payload TEXT NOT NULL,
    PRIMARY KEY (seq)
);
CREATE INDEX events_by_sweep ON events (sweep_id, seq);
CREATE INDEX events_by_trial ON events (sweep_id, family, number);
CREATE TABLE journal (
    sweep_id BIGINT NOT NULL,
    position INTEGER NOT NULL,
    record TEXT NOT NULL,
    PRIMARY KEY (sweep_id, position)
);
CREATE TABLE owners (
    sweep_id BIGSERIAL NOT NULL,
    epoch INTEGER NOT NULL,
    token VARCHAR(64) NOT NULL,
    host VARCHAR(255) NOT NULL,
    pid INTEGER NOT NULL,
    pid_started_at FLOAT NOT NULL,
    heartbeat_at FLOAT NOT NULL,
    PRIMARY KEY (sweep_id)
);
CREATE TABLE requests (
    id BIGSERIAL NOT NULL,
    sweep_id BIGINT NOT NULL,
    kind VARCHAR(32) NOT NULL,
    payload TEXT NOT NULL,
    created_at FLOAT NOT NULL,
    done_at FLOAT,
    PRIMARY KEY (id)
);
CREATE TABLE sweeps (
    id BIGSERIAL NOT NULL,
    name VARCHAR(64) NOT NULL,
    version INTEGER NOT NULL,
    state VARCHAR(16) NOT NULL,
    spec TEXT NOT NULL,
    fingerprint VARCHAR(64) NOT NULL,
    facts TEXT NOT NULL,
    created_at FLOAT NOT NULL,
    updated_at FLOAT NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (name, version)
);
CREATE TABLE trials (
    sweep_id BIGINT NOT NULL,
    role VARCHAR(16) NOT NULL,
    family VARCHAR(128) NOT NULL,
    number INTEGER NOT NULL,
    study_number INTEGER,
    state VARCHAR(16) NOT NULL,
    params TEXT NOT NULL,
    seed BIGINT NOT NULL,
    attempts INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    objective TEXT,
    epoch INTEGER NOT NULL,
    epochs INTEGER NOT NULL,
    seconds FLOAT NOT NULL,
    reason TEXT,
    metrics TEXT NOT NULL,
    facts TEXT NOT NULL,
    model TEXT,
    origin TEXT,
    resources TEXT,
    created_at FLOAT NOT NULL,
    started_at FLOAT,
    ended_at FLOAT,
    PRIMARY KEY (sweep_id, role, family, number)
);
CREATE TABLE velodrome_meta (
    key VARCHAR(64) NOT NULL,
    value TEXT,
    PRIMARY KEY (key)
);
