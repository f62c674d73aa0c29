-- The triggers of migration 0001, in PostgreSQL's words. The statements they stand for are left out of its translation.
CREATE FUNCTION ledger_entry_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the ledger is append-only';
END $$;
CREATE TRIGGER ledger_entry_is_append_only_update BEFORE UPDATE ON ledger_entry
    FOR EACH ROW EXECUTE FUNCTION ledger_entry_is_append_only();
CREATE TRIGGER ledger_entry_is_append_only_delete BEFORE DELETE ON ledger_entry
    FOR EACH ROW EXECUTE FUNCTION ledger_entry_is_append_only();

CREATE FUNCTION ledger_entry_is_summed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO account_balance AS known (account, owner, minor, wh) VALUES (NEW.account, NEW.owner, NEW.minor, NEW.wh)
    ON CONFLICT (account, owner) DO UPDATE SET minor = known.minor + excluded.minor, wh = known.wh + excluded.wh;
    RETURN NULL;
END $$;
CREATE TRIGGER ledger_entry_is_summed AFTER INSERT ON ledger_entry
    FOR EACH ROW EXECUTE FUNCTION ledger_entry_is_summed();
