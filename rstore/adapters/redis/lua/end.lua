#!lua
--- The first step of a discard: from now on writers find no partition. Returns the last position that it gave out.
--- @include "parts/numbers"

local n, ending = unpack(redis.call("HMGET", KEYS[1], "n", "ending"))
if n then
  redis.call("HSET", KEYS[1], "ending", n)
  redis.call("HDEL", KEYS[1], "n")
elseif not ending and redis.call("EXISTS", KEYS[2], KEYS[3]) > 0 then
  damaged()
end
return n or ending
