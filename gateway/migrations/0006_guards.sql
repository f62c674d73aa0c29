-- Guards of disconnection: what has to be on record before supply is cut, and a second person's word.

-- Which states there are is for the program to say, like the kinds. A command may wait for a second person.
CREATE TABLE command_2 (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    serial          TEXT    NOT NULL REFERENCES meter (serial),
    kind            TEXT    NOT NULL,
    state           TEXT    NOT NULL,
    -- Handed to a line: from here on the meter may have acted, whatever state a crash left behind.
    dispatched      BIGINT  NOT NULL DEFAULT 0,
    reason          TEXT,
    reason_text     TEXT,
    -- A breach of contract: the case, and the inspector who confirmed it.
    case_id         TEXT,
    confirmed_by    TEXT,
    actor           TEXT    NOT NULL,
    -- The second person.
    approved_by     TEXT,
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
CREATE INDEX command_open ON command (id) WHERE state NOT IN ('verified', 'rejected', 'expired', 'cancelled');
CREATE INDEX command_serial ON command (serial, id);
CREATE INDEX command_of_token ON command (token_id, id);
CREATE UNIQUE INDEX command_token_open ON command (token_id)
    WHERE token_id IS NOT NULL AND state NOT IN ('verified', 'rejected', 'expired', 'cancelled');
CREATE INDEX command_event_command ON command_event (command_id, id);

-- What a customer was told, and when it reached them. Append-only.
CREATE TABLE notice (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    serial          TEXT    NOT NULL REFERENCES meter (serial),
    kind            TEXT    NOT NULL,
    -- A disconnection notice: for which reason, and from when on supply may be cut.
    reason          TEXT,
    effective_from  BIGINT,
    -- A demand: since when the debt is overdue, and how much it is.
    overdue_since   BIGINT,
    amount_minor    BIGINT,
    delivered_at    BIGINT  NOT NULL,
    -- By what way, and where the proof is.
    way             TEXT    NOT NULL,
    reference       TEXT,
    recorded_by     TEXT    NOT NULL,
    correlation     TEXT    NOT NULL,
    at              BIGINT  NOT NULL
);
CREATE INDEX notice_serial ON notice (serial, id);

-- Customers who are never cut off automatically (important or vulnerable), and why.
CREATE TABLE protection (
    serial          TEXT    PRIMARY KEY REFERENCES meter (serial),
    kind            TEXT    NOT NULL,
    note            TEXT,
    set_by          TEXT    NOT NULL,
    at              BIGINT  NOT NULL
);

-- Why a used-up gateway-held balance does not cut supply now.
ALTER TABLE meter_state ADD COLUMN disconnect_withheld TEXT;
