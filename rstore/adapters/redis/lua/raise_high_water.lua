#!lua
--- Raises the high-water mark of a database: versions and positions of each new namespace begin above it.
local epoch = tonumber(redis.call("GET", KEYS[1]) or 0)
if tonumber(ARGV[1]) > epoch then redis.call("SET", KEYS[1], ARGV[1]) end
return 1
