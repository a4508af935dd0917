#!lua
--- Erases some streams of a partition that was ended, and the partition itself once it is empty. A discard that comes
--- late finds another ending, or none, and so leaves the next namespace of that name alone.
local META, FEED, LIVE, ALL, YOUNG, OLD, PROMISED, NOTES = unpack(KEYS, 1, 8)
if redis.call("HGET", META, "ending") ~= ARGV[1] then return 1 end
for at = 9, #KEYS do redis.call("UNLINK", KEYS[at]) end
for at = 2, #ARGV do
  redis.call("ZREM", LIVE, ARGV[at])
  redis.call("ZREM", ALL, ARGV[at])
  redis.call("SREM", YOUNG, ARGV[at])
  redis.call("SREM", OLD, ARGV[at])
end
if redis.call("ZCARD", ALL) + redis.call("SCARD", YOUNG) + redis.call("SCARD", OLD) > 0 then return 0 end
redis.call("UNLINK", META, FEED, LIVE, ALL, PROMISED, NOTES)
return 1
