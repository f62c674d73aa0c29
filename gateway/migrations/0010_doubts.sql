-- Readings that cannot be true, and clocks that are too far off to be corrected.
--
-- Readings that cannot be true are held, each with its doubt, until a later one fits or a person decides.

CREATE TABLE doubt (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    serial          TEXT    NOT NULL REFERENCES meter (serial),
    kind            TEXT    NOT NULL,
    -- JSON: the numbers behind the first reading's doubt.
    detail          TEXT    NOT NULL,
    state           TEXT    NOT NULL,
    first_at        BIGINT  NOT NULL,
    last_at         BIGINT  NOT NULL,
    readings        BIGINT  NOT NULL,
    -- Of the last reading held.
    import_wh       BIGINT,
    ratios          TEXT,
    decided_by      TEXT,
    note            TEXT,
    decided_at      BIGINT
);
CREATE INDEX doubt_serial ON doubt (serial, id);
CREATE UNIQUE INDEX doubt_held ON doubt (serial, kind) WHERE state = 'held';

-- The doubt that holds a reading; none for one that counts.
ALTER TABLE reading ADD COLUMN doubt_id BIGINT;

-- When the register was last seen to have moved, and the transformer ratios that the meter is known to have (JSON array).
ALTER TABLE meter_state ADD COLUMN moved_at BIGINT;
ALTER TABLE meter_state ADD COLUMN ratios TEXT;

-- How far the clock is off, where that is left to a person; none once it is right again.
ALTER TABLE meter_state ADD COLUMN clock_left_s BIGINT;
