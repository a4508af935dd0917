-- Shows a file of schema version 1, where keys were streams like all others, as this version has it. These views hide
-- the tables of the same names. A connection that may only read keeps them; one that may write moves the file on.

CREATE TEMP VIEW rstore_head AS
SELECT s.id, s.namespace, s.kind, s.live, s.key, s.levels, s.floor, s.died,
    r.version, r.position, r.recorded, r.start, r."end", r.item, r.op, r.data, r.meta
FROM main.rstore_stream AS s LEFT JOIN main.rstore_record AS r ON s.kind = 'kv' AND r.position = (
    SELECT position FROM main.rstore_record WHERE stream = s.id ORDER BY version DESC LIMIT 1);

CREATE TEMP VIEW rstore_change AS
SELECT r.position, r.stream, r.version, o.version AS old_version, o.position AS old_position,
    o.recorded AS old_recorded, o.start AS old_start, o."end" AS old_end, o.item AS old_item, o.op AS old_op,
    o.data AS old_data, o.meta AS old_meta
FROM main.rstore_record AS r JOIN main.rstore_stream AS s ON s.id = r.stream AND s.kind = 'kv'
LEFT JOIN main.rstore_record AS o ON o.position = (
    SELECT position FROM main.rstore_record WHERE stream = r.stream AND version < r.version
    ORDER BY version DESC LIMIT 1);

CREATE TEMP VIEW rstore_milestone AS
SELECT r.stream, r.version, r.recorded, r.position
FROM main.rstore_record AS r JOIN main.rstore_stream AS s ON s.id = r.stream AND s.kind = 'kv'
WHERE r.version % 64 = 0;
