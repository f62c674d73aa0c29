-- How far each northbound sink has got in the events, which are the outbox: written in the transaction of their fact, and
-- delivered in order. A sink is added when it is first configured, and starts with the first event there is.
CREATE TABLE sink (
    name            TEXT    PRIMARY KEY,
    -- Every event up to this one was acknowledged by the other side.
    delivered_id    BIGINT  NOT NULL,
    delivered_at    BIGINT,
    -- What keeps it from delivering, NULL while nothing does.
    problem         TEXT,
    problem_at      BIGINT
);
