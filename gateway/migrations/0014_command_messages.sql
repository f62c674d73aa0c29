-- Commands that came as messages: each message is answered once, however often it is delivered. A row is kept until a day after the
-- message's own time is over: from then on it would be refused for its age.
CREATE TABLE command_message (
    -- Who signed it, and the id that they gave it.
    principal   TEXT    NOT NULL,
    message_id  TEXT    NOT NULL,
    -- SHA-256 of what was signed: the same id with other words is refused.
    digest      BLOB    NOT NULL,
    at          INTEGER NOT NULL,
    not_after   INTEGER NOT NULL,
    -- The command, where one was recorded.
    command_id  INTEGER REFERENCES command (id),
    -- The answer as it was given: a status as of HTTP, and JSON.
    status      INTEGER NOT NULL,
    answer      TEXT    NOT NULL,
    PRIMARY KEY (principal, message_id)
) STRICT;
CREATE INDEX command_message_not_after ON command_message (not_after);
