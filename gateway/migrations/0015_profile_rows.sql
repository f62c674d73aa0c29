-- Rows of profiles are written a thousand times as often as anything else. They are kept in the order of their key, in one tree instead
-- of a table and its index, and without references: series and layout are numbered in the same write, and none is ever removed.
CREATE TABLE profile_row_by_key (
    series_id       BIGINT  NOT NULL,
    at              BIGINT  NOT NULL,
    layout_id       BIGINT  NOT NULL,
    quality         TEXT    NOT NULL,
    status          BIGINT,
    -- Integers in the order of the layout, separated by commas; nothing where the meter had no value.
    cells           TEXT    NOT NULL,
    disputed        BIGINT  NOT NULL DEFAULT 0,
    read_at         BIGINT  NOT NULL,
    PRIMARY KEY (series_id, at)
) WITHOUT ROWID;
INSERT INTO profile_row_by_key (series_id, at, layout_id, quality, status, cells, disputed, read_at)
    SELECT series_id, at, layout_id, quality, status, cells, disputed, read_at FROM profile_row;
DROP TABLE profile_row;
ALTER TABLE profile_row_by_key RENAME TO profile_row;
