#!lua
--- Notes at the coordinator that a transaction is open, and which other partitions take part.
if redis.call("HEXISTS", KEYS[1], "n") == 0 then return {"gone"} end
redis.call("HSET", KEYS[2], ARGV[1], "open" .. ARGV[2])
return {"done"}
