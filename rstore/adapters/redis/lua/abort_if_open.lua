#!lua flags=allow-oom
--- Aborts a transaction at its coordinator, unless it has been decided. Returns the note of a decided one.
---
--- The note is dropped, not changed: a transaction without a note is an aborted one (presumed abort), so nobody has to
--- clean up after it.
local note = redis.call("HGET", KEYS[1], ARGV[1])
if not note or note:sub(1, 4) ~= "open" then return note end
redis.call("HDEL", KEYS[1], ARGV[1])
return false
