-- The doubt that holds a row of a profile; none for one that counts (N31).
ALTER TABLE profile_row ADD COLUMN doubt_id BIGINT;
CREATE INDEX profile_row_held ON profile_row (doubt_id) WHERE doubt_id IS NOT NULL;
