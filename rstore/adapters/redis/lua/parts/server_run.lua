--- Which run of which server this is: a fencing epoch belongs to one run. The stored field is `incarnation`.
---
--- The clock is not trusted to go forward. It only serves where the number of the last epoch, or a whole namespace, was
--- lost itself: positions then begin above it.
---
--- Rejected: a random number, which may be below the one before, so that followers skip new records. Rejected: the
--- clocks of the writers, since one that is ahead would be ahead for ever.

local function incarnation()  -- and the position that the server's clock stands for
  local info = redis.pcall("INFO", "server", "replication")
  if type(info) == "table" then error({err = "NOINFO may be had"}) end
  local seconds = math.floor((tonumber(info:match("server_time_usec:(%d+)")) or 0) / 1000000) - 1767225600  -- of 2026
  local clock = (seconds + 2) * UNIT  -- it goes faster than anybody writes
  if clock > MOST / 2 then clock = 0 end
  local run, history = info:match("run_id:(%x+)") or "", info:match("master_replid:(%x+)") or ""
  return run:sub(1, 20) .. "-" .. history:sub(1, 20), clock  -- 80 bits of each: a hash of short values is a small one
end
