#!lua flags=allow-oom
--- Begins a new fencing epoch in a partition that another run of a server has written to. Returns 1 if it did.
---
--- A server loses records with its process, or as a replica that was not up to date and is promoted. It would give out
--- their positions and versions again, to other records than those that readers have seen. So positions go on far
--- above, and versions follow them: see EPOCH_SIZE in codec.py.
---
--- They skip two epochs, since the lost records may have begun another one.
--- @include "parts/numbers"
--- @include "parts/server_run"

local stored, known = unpack(redis.call("HMGET", KEYS[1], "n", "incarnation"))
local now, clock = incarnation()
if not stored or known == now then return 0 end
local n = tonumber(stored)
if not n or n > MOST - 2 * UNIT then damaged() end
redis.call("HSET", KEYS[1], "n", string.format("%.0f", math.max(base_of(n) + 2 * UNIT, clock)), "incarnation", now)
return 1
