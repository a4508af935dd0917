--- A Lamport clock: a writer that has seen a position gives out greater ones, wherever it writes.

local function catch_up(seen)
  local n = tonumber(redis.call("HGET", KEYS[1], "n"))
  if n and n < tonumber(seen) then redis.call("HSET", KEYS[1], "n", seen) end
end
