-- Alarms: what is wrong with a meter until evidence or a person says that it is not. One open alarm of a kind and meter.
CREATE TABLE alarm (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    serial          TEXT    NOT NULL REFERENCES meter (serial),
    kind            TEXT    NOT NULL,
    -- What was seen, for a person: when it was opened, and last.
    detail          TEXT    NOT NULL,
    opened_at       BIGINT  NOT NULL,
    seen_at         BIGINT  NOT NULL,
    closed_at       BIGINT,
    -- Who closed it: a person, or NULL for evidence.
    closed_by       TEXT,
    -- The evidence, or the person's words.
    closing         TEXT
);
CREATE UNIQUE INDEX alarm_open ON alarm (serial, kind) WHERE closed_at IS NULL;
CREATE INDEX alarm_serial ON alarm (serial, id);

-- The mirrored balance of a meter that holds it, audited: what it should have changed by since the audit before, and what it did.
CREATE TABLE balance_audit (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    serial          TEXT    NOT NULL REFERENCES meter (serial),
    at              BIGINT  NOT NULL,
    credit_wh       BIGINT  NOT NULL,
    -- Everything the meter's charges have collected so far; NULL where it does not say.
    charged_wh      BIGINT,
    import_wh       BIGINT,
    -- Since the audit before: credit of tokens that the meter was seen to accept, what charges took, what is left unexplained.
    -- NULL where there is nothing to compare with.
    accepted_wh     BIGINT,
    taken_wh        BIGINT,
    difference_wh   BIGINT,
    verdict         TEXT    NOT NULL
);
CREATE INDEX balance_audit_serial ON balance_audit (serial, id);

-- What a curtailment goes by: how important the customer is, how much it may draw, and to how much it has agreed to go down.
ALTER TABLE meter ADD COLUMN load_class BIGINT;
ALTER TABLE meter ADD COLUMN rated_w BIGINT;
ALTER TABLE meter ADD COLUMN plan_w BIGINT;

-- Firmware images for meters: kept whole, never changed.
CREATE TABLE firmware_image (
    name            TEXT    PRIMARY KEY,
    identifier      TEXT    NOT NULL,
    -- What a meter says its firmware is, once it runs.
    version         TEXT    NOT NULL,
    bytes           BLOB    NOT NULL,
    added_by        TEXT    NOT NULL,
    at              BIGINT  NOT NULL
);

-- So many meters first: the others are told only when every one of these is done.
ALTER TABLE campaign ADD COLUMN canary BIGINT;
