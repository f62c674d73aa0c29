-- Times are milliseconds since 1970-01-01 UTC, energy is in watt-hours, money in minor units: integers all.
-- Plain column types and constraints only, so that the same file runs on PostgreSQL where AUTOINCREMENT is spelled identity.

-- The gateway's own system title. It lives and dies with the invocation counters below: both are part of every
-- initialisation vector, so a lost store must not begin again under the old name.
CREATE TABLE gateway (
    system_title    BLOB    NOT NULL
);

CREATE TABLE meter (
    serial          TEXT    PRIMARY KEY,
    line            TEXT    NOT NULL,
    address         TEXT    NOT NULL,
    framing         TEXT    NOT NULL,
    model           TEXT    NOT NULL,
    balance         TEXT    NOT NULL CHECK (balance IN ('meter', 'gateway', 'none')),
    role            TEXT    NOT NULL CHECK (role IN ('customer', 'feeder')),
    area            TEXT    NOT NULL,
    -- What decoder key generation needs; JSON, NULL for meters without a token gateway.
    sts             TEXT,
    added_at        BIGINT  NOT NULL,
    UNIQUE (line, address)
);

-- The latest of everything known about a meter, for lists and decisions. History is in reading and relay_observation.
CREATE TABLE meter_state (
    serial          TEXT    PRIMARY KEY REFERENCES meter (serial),
    commissioned_at BIGINT,
    prepaid         BIGINT,
    read_at         BIGINT,
    import_wh       BIGINT,
    power_w         BIGINT,
    credit_wh       BIGINT,
    credit_at       BIGINT,
    relay_closed    BIGINT,
    relay_control   BIGINT,
    relay_reason    TEXT,
    relay_at        BIGINT,
    clock_offset_s  BIGINT,
    tried_at        BIGINT,
    problem         TEXT,
    -- Gateway-held balances: the register up to which consumption has been charged.
    rated_wh        BIGINT
);

CREATE TABLE payment (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    channel         TEXT    NOT NULL,
    idempotency_key TEXT    NOT NULL,
    request_digest  BLOB    NOT NULL,
    serial          TEXT    NOT NULL REFERENCES meter (serial),
    amount_minor    BIGINT  NOT NULL CHECK (amount_minor > 0),
    billed_minor    BIGINT  NOT NULL,
    change_minor    BIGINT  NOT NULL,
    energy_wh       BIGINT  NOT NULL,
    state           TEXT    NOT NULL CHECK (state IN ('recorded', 'on_the_way', 'accepted', 'refused')),
    correlation     TEXT    NOT NULL,
    at              BIGINT  NOT NULL,
    UNIQUE (channel, idempotency_key)
);
CREATE INDEX payment_serial ON payment (serial, id);
CREATE INDEX payment_open ON payment (id) WHERE state = 'recorded';

-- Append-only. The entries of one posting sum to zero in money and in energy.
CREATE TABLE posting (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    kind            TEXT    NOT NULL,
    payment_id      BIGINT  REFERENCES payment (id),
    at              BIGINT  NOT NULL
);
CREATE TABLE ledger_entry (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    posting_id      BIGINT  NOT NULL REFERENCES posting (id),
    account         TEXT    NOT NULL,
    owner           TEXT    NOT NULL,
    minor           BIGINT  NOT NULL,
    wh              BIGINT  NOT NULL
);
CREATE INDEX ledger_entry_owner ON ledger_entry (owner, account, id);
CREATE TRIGGER ledger_entry_is_append_only_update BEFORE UPDATE ON ledger_entry
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER ledger_entry_is_append_only_delete BEFORE DELETE ON ledger_entry
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;

-- Running sums of ledger_entry, kept by the trigger below in the transaction of the entry.
CREATE TABLE account_balance (
    account         TEXT    NOT NULL,
    owner           TEXT    NOT NULL,
    minor           BIGINT  NOT NULL,
    wh              BIGINT  NOT NULL,
    PRIMARY KEY (account, owner)
);

CREATE TRIGGER ledger_entry_is_summed AFTER INSERT ON ledger_entry BEGIN
    INSERT INTO account_balance (account, owner, minor, wh) VALUES (NEW.account, NEW.owner, NEW.minor, NEW.wh)
    ON CONFLICT (account, owner) DO UPDATE SET minor = minor + excluded.minor, wh = wh + excluded.wh;
END;

-- A token nobody paid for: free issue, engineering, or the tokens of a key change. Written with its reason before it is made.
CREATE TABLE special (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    serial          TEXT    NOT NULL REFERENCES meter (serial),
    kind            TEXT    NOT NULL CHECK (kind IN ('free_issue', 'clear_credit', 'clear_tamper', 'power_limit', 'phase_unbalance_limit', 'key_change')),
    -- JSON: the kind and its numbers.
    action          TEXT    NOT NULL,
    reason          TEXT    NOT NULL,
    requested_by    TEXT    NOT NULL,
    decided_by      TEXT,
    state           TEXT    NOT NULL CHECK (state IN ('waiting', 'on_the_way', 'done', 'refused', 'declined')),
    -- Tokens made, and tokens the meter has taken.
    tokens          BIGINT  NOT NULL DEFAULT 0,
    taken           BIGINT  NOT NULL DEFAULT 0,
    correlation     TEXT    NOT NULL,
    at              BIGINT  NOT NULL,
    updated_at      BIGINT  NOT NULL
);
CREATE INDEX special_serial ON special (serial, id);

-- A token id is reserved here before its token exists, and never freed. Ids count from the base date, so they begin again
-- with a new one.
CREATE TABLE tid_reservation (
    serial          TEXT    NOT NULL REFERENCES meter (serial),
    base_year       BIGINT  NOT NULL,
    tid             BIGINT  NOT NULL,
    -- Neither for a payment nor for a special token: refused.
    payment_id      BIGINT  REFERENCES payment (id),
    special_id      BIGINT  REFERENCES special (id),
    at              BIGINT  NOT NULL,
    PRIMARY KEY (serial, base_year, tid),
    CHECK ((payment_id IS NULL) <> (special_id IS NULL))
);
CREATE UNIQUE INDEX tid_reservation_payment ON tid_reservation (payment_id);

CREATE TABLE token (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    payment_id      BIGINT  UNIQUE REFERENCES payment (id),
    special_id      BIGINT  REFERENCES special (id),
    -- Order within a key change.
    position        BIGINT  NOT NULL DEFAULT 0,
    serial          TEXT    NOT NULL REFERENCES meter (serial),
    -- NULL for the tokens of a key change, which carry none.
    tid             BIGINT,
    tenths_kwh      BIGINT  NOT NULL,
    -- The digits, closed by the vault.
    sealed          BLOB    NOT NULL,
    at              BIGINT  NOT NULL,
    UNIQUE (special_id, position),
    CHECK ((payment_id IS NULL) <> (special_id IS NULL))
);

CREATE TABLE counter_block (
    serial          TEXT    NOT NULL,
    client_sap      BIGINT  NOT NULL,
    next            BIGINT  NOT NULL,
    PRIMARY KEY (serial, client_sap)
);

CREATE TABLE command (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    serial          TEXT    NOT NULL REFERENCES meter (serial),
    kind            TEXT    NOT NULL CHECK (kind IN ('commission', 'read', 'deliver_token', 'disconnect', 'reconnect')),
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
CREATE INDEX command_open ON command (id) WHERE state NOT IN ('verified', 'rejected', 'expired');
CREATE INDEX command_serial ON command (serial, id);
CREATE UNIQUE INDEX command_token ON command (token_id);

CREATE TABLE command_event (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    command_id      BIGINT  NOT NULL REFERENCES command (id),
    state           TEXT    NOT NULL,
    at              BIGINT  NOT NULL,
    -- JSON array of lines: what was sent, read back, or went wrong.
    evidence        TEXT    NOT NULL
);
CREATE INDEX command_event_command ON command_event (command_id, id);

CREATE TABLE reading (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    serial          TEXT    NOT NULL REFERENCES meter (serial),
    at              BIGINT  NOT NULL,
    quality         TEXT    NOT NULL,
    import_wh       BIGINT,
    power_w         BIGINT,
    credit_wh       BIGINT
);
CREATE INDEX reading_serial ON reading (serial, at);

CREATE TABLE relay_observation (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    serial          TEXT    NOT NULL REFERENCES meter (serial),
    at              BIGINT  NOT NULL,
    output_closed   BIGINT  NOT NULL,
    control_state   BIGINT,
    reason          TEXT
);
CREATE INDEX relay_observation_serial ON relay_observation (serial, at);

CREATE TABLE event (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    at              BIGINT  NOT NULL,
    kind            TEXT    NOT NULL,
    serial          TEXT,
    -- JSON object; its fields depend on the kind.
    detail          TEXT    NOT NULL
);

-- Bearer tokens and page sessions: only hashes.
CREATE TABLE api_token (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    name            TEXT    NOT NULL UNIQUE,
    hash            BLOB    NOT NULL UNIQUE,
    scopes          TEXT    NOT NULL,
    at              BIGINT  NOT NULL,
    revoked_at      BIGINT
);
CREATE TABLE page_secret (
    hash            BLOB    PRIMARY KEY,
    kind            TEXT    NOT NULL CHECK (kind IN ('link', 'session')),
    expires_at      BIGINT  NOT NULL
);

CREATE TABLE audit (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    at              BIGINT  NOT NULL,
    actor           TEXT    NOT NULL,
    action          TEXT    NOT NULL,
    subject         TEXT    NOT NULL,
    correlation     TEXT    NOT NULL
);
