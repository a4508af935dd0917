-- These triggers log what happens to the head of a key. So the driver sends one statement for a whole append. A greater
-- position tells an append from a rewrite. An append that raises the floor to its own version replaces all before it.

CREATE TRIGGER rstore_first AFTER INSERT ON rstore_head WHEN new.position IS NOT NULL BEGIN
    INSERT INTO rstore_change (position, stream, version) VALUES (new.position, new.id, new.version);
END;

CREATE TRIGGER rstore_next AFTER UPDATE OF position ON rstore_head
WHEN new.position > coalesce(old.position, 0) AND new.floor < new.version BEGIN
    INSERT INTO rstore_change VALUES (
        new.position, new.id, new.version, old.version, old.position, old.recorded, old.start, old."end", old.item,
        old.op, old.data, old.meta);
END;

CREATE TRIGGER rstore_only AFTER UPDATE OF position ON rstore_head
WHEN new.position > coalesce(old.position, 0) AND new.floor = new.version BEGIN
    DELETE FROM rstore_change WHERE position = old.position;
    INSERT INTO rstore_change (position, stream, version) VALUES (new.position, new.id, new.version);
END;

CREATE TRIGGER rstore_mark AFTER UPDATE OF position ON rstore_head
WHEN new.version % 64 = 0 AND new.position > coalesce(old.position, 0) AND new.floor < new.version BEGIN
    INSERT INTO rstore_milestone VALUES (new.id, new.version, new.recorded, new.position);
END;
