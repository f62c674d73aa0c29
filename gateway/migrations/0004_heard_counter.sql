-- The highest invocation counter accepted from each meter under each pair of keys, so that an answer recorded earlier is
-- refused after a restart too. key_mark tells keys apart and says nothing about them.
CREATE TABLE heard_counter (
    serial          TEXT    NOT NULL,
    key_mark        BLOB    NOT NULL,
    counter         BIGINT  NOT NULL,
    PRIMARY KEY (serial, key_mark)
);
