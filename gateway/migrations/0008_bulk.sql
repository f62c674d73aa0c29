-- Bulk commands: chosen meters, each with a command of its own. They have the shape of key-change campaigns and stand in the
-- same tables. What was previewed is stored, and is what runs.

CREATE TABLE campaign_2 (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    -- key_change: each meter gets a set of tokens. command: each meter gets a command.
    kind            TEXT    NOT NULL,
    -- JSON: the key change, as in special; or the command.
    action          TEXT    NOT NULL,
    -- JSON: which meters were asked for.
    selection       TEXT    NOT NULL,
    reason          TEXT    NOT NULL,
    requested_by    TEXT    NOT NULL,
    -- The second person, where one had to agree.
    decided_by      TEXT,
    -- Sets or commands on the way at once.
    sets_max        BIGINT  NOT NULL CHECK (sets_max > 0),
    -- Commands started in a minute at most: altogether, and in one area.
    per_minute      BIGINT,
    area_per_minute BIGINT,
    state           TEXT    NOT NULL,
    correlation     TEXT    NOT NULL,
    at              BIGINT  NOT NULL,
    updated_at      BIGINT  NOT NULL
);
INSERT INTO campaign_2 (id, kind, action, selection, reason, requested_by, sets_max, state, correlation, at, updated_at)
    SELECT id, 'key_change', action, selection, reason, requested_by, sets_max, state, correlation, at, updated_at FROM campaign;

CREATE TABLE campaign_meter_2 (
    campaign_id     BIGINT  NOT NULL REFERENCES campaign_2 (id),
    serial          TEXT    NOT NULL REFERENCES meter (serial),
    -- Commands are started in this order.
    position        BIGINT  NOT NULL DEFAULT 0,
    excluded        TEXT,
    -- What the preview said about a meter that takes part.
    note            TEXT,
    -- JSON: what exactly this meter is told, where it is not what all are told.
    parameters      TEXT,
    special_id      BIGINT  REFERENCES special (id),
    command_id      BIGINT  REFERENCES command (id),
    -- Not to be tried before: another key change of the meter is under way.
    not_before      BIGINT,
    PRIMARY KEY (campaign_id, serial)
);
INSERT INTO campaign_meter_2 (campaign_id, serial, excluded, special_id, not_before)
    SELECT campaign_id, serial, excluded, special_id, not_before FROM campaign_meter;
-- The meters go first: nothing refers to the campaigns then.
DROP TABLE campaign_meter;
DROP TABLE campaign;
ALTER TABLE campaign_2 RENAME TO campaign;
ALTER TABLE campaign_meter_2 RENAME TO campaign_meter;
CREATE INDEX campaign_meter_waiting ON campaign_meter (campaign_id, position, serial)
    WHERE special_id IS NULL AND command_id IS NULL AND excluded IS NULL;
CREATE UNIQUE INDEX campaign_meter_special ON campaign_meter (special_id);
CREATE UNIQUE INDEX campaign_meter_command ON campaign_meter (command_id);

-- What exactly a command is to do, where its kind does not say all; JSON.
ALTER TABLE command ADD COLUMN action TEXT;
