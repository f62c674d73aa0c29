-- Profiles: what meters recorded of themselves, interval by interval, and what is missing of it.

-- What the cells of rows are: a JSON array of [name, unit]. There are as many as models have profiles.
CREATE TABLE profile_layout (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    channels        TEXT    NOT NULL UNIQUE
);

-- One profile of one meter.
CREATE TABLE profile_series (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    serial          TEXT    NOT NULL REFERENCES meter (serial),
    profile         TEXT    NOT NULL,
    -- The first interval that is due, and the last one that was asked for when it was due.
    due_from        BIGINT  NOT NULL,
    asked_to        BIGINT  NOT NULL,
    -- Why the meter refuses to give it, if it does.
    problem         TEXT,
    UNIQUE (serial, profile)
);

-- One row of a profile: a fact, once. Written once and never changed, but for the mark that the meter said something else later.
CREATE TABLE profile_row (
    series_id       BIGINT  NOT NULL REFERENCES profile_series (id),
    at              BIGINT  NOT NULL,
    layout_id       BIGINT  NOT NULL REFERENCES profile_layout (id),
    quality         TEXT    NOT NULL,
    status          BIGINT,
    -- Integers in the order of the layout, separated by commas; nothing where the meter had no value.
    cells           TEXT    NOT NULL,
    disputed        BIGINT  NOT NULL DEFAULT 0,
    read_at         BIGINT  NOT NULL,
    PRIMARY KEY (series_id, at)
);

-- What a meter said of an interval when it had said something else before.
CREATE TABLE profile_dispute (
    series_id       BIGINT  NOT NULL REFERENCES profile_series (id),
    at              BIGINT  NOT NULL,
    layout_id       BIGINT  NOT NULL REFERENCES profile_layout (id),
    status          BIGINT,
    cells           TEXT    NOT NULL,
    read_at         BIGINT  NOT NULL,
    PRIMARY KEY (series_id, at, read_at)
);

-- Intervals that are due and not there, in runs without a hole.
CREATE TABLE profile_gap (
    series_id       BIGINT  NOT NULL REFERENCES profile_series (id),
    from_at         BIGINT  NOT NULL,
    to_at           BIGINT  NOT NULL,
    seen_at         BIGINT  NOT NULL,
    attempts        BIGINT  NOT NULL,
    -- Attempts that the meter answered without these rows.
    answered        BIGINT  NOT NULL,
    next_at         BIGINT  NOT NULL,
    -- A billing gap's deadline has passed, and that was told.
    told            BIGINT  NOT NULL,
    -- Why nobody asks for it any more.
    given_up        TEXT,
    PRIMARY KEY (series_id, from_at)
);
