-- From schema version 1 to 2, with the views of version_1.sql: keys leave the table of records. The old table of streams
-- goes. So an rstore that has the file open and knows only version 1 fails with each call, and writes nothing that this
-- version would not see.

INSERT INTO main.rstore_head SELECT * FROM temp.rstore_head;

INSERT INTO main.rstore_change SELECT * FROM temp.rstore_change ORDER BY position;

INSERT INTO main.rstore_milestone SELECT * FROM temp.rstore_milestone;

DROP VIEW temp.rstore_head;

DROP VIEW temp.rstore_change;

DROP VIEW temp.rstore_milestone;

DELETE FROM rstore_record WHERE stream IN (SELECT id FROM rstore_stream WHERE kind = 'kv');

DROP TABLE rstore_stream;
