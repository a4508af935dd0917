#!lua
--- The last of three steps that make a partition: claim it, read the high-water mark of its database, make it if the
--- claim still holds. So a discard in between is noticed, though the mark that it raises is in another slot.
---
--- Where there are streams or a feed, no partition is made: its meta was lost, and so was the number from which
--- versions would have to go on.
--- @include "parts/numbers"
--- @include "parts/server_run"

local claim, n, ending = unpack(redis.call("HMGET", KEYS[1], "claim", "n", "ending"))
if claim ~= ARGV[1] then return 0 end
redis.call("HDEL", KEYS[1], "claim")
if n or ending then return 0 end
if redis.call("EXISTS", KEYS[2], KEYS[3]) > 0 then damaged() end
local now, clock = incarnation()
local start = string.format("%.0f", math.max(tonumber(ARGV[4]), clock))
redis.call("HSET", KEYS[1], "schema", ARGV[2], "partitions", ARGV[3], "n", start, "floor", start, "incarnation", now)
return 1
