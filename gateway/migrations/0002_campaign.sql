-- Key changes over many meters, and a set whose tokens are delivered once more.

-- The tokens of a key change may be delivered again when the meter forgot a part of the set; no token twice at once.
DROP INDEX command_token;
CREATE INDEX command_of_token ON command (token_id, id);
CREATE UNIQUE INDEX command_token_open ON command (token_id)
    WHERE token_id IS NOT NULL AND state NOT IN ('verified', 'rejected', 'expired');

-- How often delivery of the tokens was begun, and the last word about them.
ALTER TABLE special ADD COLUMN rounds BIGINT NOT NULL DEFAULT 1;
ALTER TABLE special ADD COLUMN outcome TEXT;
CREATE INDEX special_open ON special (serial) WHERE state = 'on_the_way';

-- One key change for many meters.
CREATE TABLE campaign (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    -- JSON: the key change, as in special.
    action          TEXT    NOT NULL,
    -- JSON: which meters were asked for.
    selection       TEXT    NOT NULL,
    reason          TEXT    NOT NULL,
    requested_by    TEXT    NOT NULL,
    -- Sets on the way at once.
    sets_max        BIGINT  NOT NULL CHECK (sets_max > 0),
    state           TEXT    NOT NULL CHECK (state IN ('running', 'paused', 'stopped', 'done')),
    correlation     TEXT    NOT NULL,
    at              BIGINT  NOT NULL,
    updated_at      BIGINT  NOT NULL
);

-- A meter of a campaign: excluded, or waiting while it has no set, or as far as its set is.
CREATE TABLE campaign_meter (
    campaign_id     BIGINT  NOT NULL REFERENCES campaign (id),
    serial          TEXT    NOT NULL REFERENCES meter (serial),
    excluded        TEXT,
    special_id      BIGINT  REFERENCES special (id),
    -- Not to be tried before: another key change of the meter is under way.
    not_before      BIGINT,
    PRIMARY KEY (campaign_id, serial)
);
CREATE INDEX campaign_meter_waiting ON campaign_meter (campaign_id, serial) WHERE special_id IS NULL AND excluded IS NULL;
CREATE UNIQUE INDEX campaign_meter_special ON campaign_meter (special_id);
