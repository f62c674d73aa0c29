-- Which kinds of commands there are is for the program to say: the column's list would have to be rebuilt with every new one.
CREATE TABLE command_2 (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    serial          TEXT    NOT NULL REFERENCES meter (serial),
    kind            TEXT    NOT NULL,
    state           TEXT    NOT NULL CHECK (state IN ('recorded', 'queued', 'sending', 'unknown', 'accepted', 'verified', 'rejected', 'expired')),
    -- Handed to a line: from here on the meter may have acted, whatever state a crash left behind.
    dispatched      BIGINT  NOT NULL DEFAULT 0,
    reason          TEXT,
    reason_text     TEXT,
    actor           TEXT    NOT NULL,
    correlation     TEXT    NOT NULL,
    token_id        BIGINT  REFERENCES token (id),
    outcome         TEXT,
    not_after       BIGINT,
    at              BIGINT  NOT NULL,
    updated_at      BIGINT  NOT NULL
);
INSERT INTO command_2 (id, serial, kind, state, dispatched, reason, reason_text, actor, correlation, token_id, outcome, not_after, at, updated_at)
    SELECT id, serial, kind, state, dispatched, reason, reason_text, actor, correlation, token_id, outcome, not_after, at, updated_at
    FROM command;
CREATE TABLE command_event_2 (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    command_id      BIGINT  NOT NULL REFERENCES command_2 (id),
    state           TEXT    NOT NULL,
    at              BIGINT  NOT NULL,
    -- JSON array of lines: what was sent, read back, or went wrong.
    evidence        TEXT    NOT NULL
);
INSERT INTO command_event_2 (id, command_id, state, at, evidence) SELECT id, command_id, state, at, evidence FROM command_event;
-- The events go first: nothing refers to the commands then.
DROP TABLE command_event;
DROP TABLE command;
ALTER TABLE command_2 RENAME TO command;
ALTER TABLE command_event_2 RENAME TO command_event;
CREATE INDEX command_open ON command (id) WHERE state NOT IN ('verified', 'rejected', 'expired');
CREATE INDEX command_serial ON command (serial, id);
CREATE INDEX command_of_token ON command (token_id, id);
CREATE UNIQUE INDEX command_token_open ON command (token_id)
    WHERE token_id IS NOT NULL AND state NOT IN ('verified', 'rejected', 'expired');
CREATE INDEX command_event_command ON command_event (command_id, id);
