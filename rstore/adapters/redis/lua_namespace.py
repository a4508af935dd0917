"""The scripts that make a partition and erase it, and lift it above what its server may have lost."""

from __future__ import annotations

from typing import Final

from rstore.adapters.redis.lua import NUMBERS, Script

# What a server loses (with its process, or as a replica that was not up to date and is promoted) it would give out
# again, to others than those who have seen it. So each partition notes under which incarnation of a server it was
# written; under another, positions go on far above, and versions follow them, see UNIT. Two units, since what was lost
# may have begun another one. The clock is not trusted to go forward: it only puts what comes above a lift, or a whole
# namespace, that was lost itself. Rejected: a random number, which may be below the one before, so that followers skip
# what comes; and the clocks of writers, of which the one that is ahead would be ahead for ever.
_INCARNATION: Final = r"""
local function incarnation()  -- and the position that the server's clock stands for
  local info = redis.pcall("INFO", "server", "replication")
  if type(info) == "table" then error({err = "NOINFO may be had"}) end
  local seconds = math.floor((tonumber(info:match("server_time_usec:(%d+)")) or 0) / 1000000) - 1767225600  -- of 2026
  local clock = (seconds + 2) * UNIT  -- it goes faster than anybody writes
  if clock > MOST / 2 then clock = 0 end
  local run, history = info:match("run_id:(%x+)") or "", info:match("master_replid:(%x+)") or ""
  return run:sub(1, 20) .. "-" .. history:sub(1, 20), clock  -- 80 bits of each: a hash of short values is a small one
end
"""

LIFT: Final = Script(
    "#!lua flags=allow-oom\n"
    + NUMBERS
    + _INCARNATION
    + r"""
local stored, known = unpack(redis.call("HMGET", KEYS[1], "n", "incarnation"))
local now, clock = incarnation()
if not stored or known == now then return 0 end
local n = tonumber(stored)
if not n or n > MOST - 2 * UNIT then damaged() end
redis.call("HSET", KEYS[1], "n", string.format("%.0f", math.max(base_of(n) + 2 * UNIT, clock)), "incarnation", now)
return 1
"""
)

# A partition is made in three steps: claim it, read the epoch from which its versions may go on, make it if the claim
# still holds. So an epoch that a discard raises in between is not missed, though it is in another slot. Where there are
# streams or records, it is not made: its meta was lost, and so was the number that their versions go on from.
CREATE: Final = Script(
    "#!lua\n"
    + NUMBERS
    + _INCARNATION
    + r"""
local claim, n, ending = unpack(redis.call("HMGET", KEYS[1], "claim", "n", "ending"))
if claim ~= ARGV[1] then return 0 end
redis.call("HDEL", KEYS[1], "claim")
if n or ending then return 0 end
if redis.call("EXISTS", KEYS[2], KEYS[3]) > 0 then damaged() end
local now, clock = incarnation()
local start = string.format("%.0f", math.max(tonumber(ARGV[4]), clock))
redis.call("HSET", KEYS[1], "schema", ARGV[2], "partitions", ARGV[3], "n", start, "floor", start, "incarnation", now)
return 1
"""
)

# The first step of a discard: from now on writers find no partition. Returns the last position that it gave out.
END: Final = Script(
    "#!lua\n"
    + NUMBERS
    + r"""
local n, ending = unpack(redis.call("HMGET", KEYS[1], "n", "ending"))
if n then
  redis.call("HSET", KEYS[1], "ending", n)
  redis.call("HDEL", KEYS[1], "n")
elseif not ending and redis.call("EXISTS", KEYS[2], KEYS[3]) > 0 then
  damaged()
end
return n or ending
""",
    advances=True,  # what comes after a discard goes on from there
)

RAISE_EPOCH: Final = Script(
    r"""#!lua
local epoch = tonumber(redis.call("GET", KEYS[1]) or 0)
if tonumber(ARGV[1]) > epoch then redis.call("SET", KEYS[1], ARGV[1]) end
return 1
"""
)

# Erases some streams of a partition that was ended, and the partition itself once it is empty. Whoever comes late finds
# that there is no such ending, and leaves the next namespace of that name alone.
SWEEP: Final = Script(
    r"""#!lua
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
"""
)
