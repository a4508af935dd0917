"""The scripts by which partitions write together: what they promise is explained in ``_redis_transactions.py``."""

from __future__ import annotations

from typing import Final

from rstore.adapters.redis.lua import NUMBERS, Script
from rstore.adapters.redis.lua_write import SHORT, WRITER

# Whoever has seen a position gives out greater ones, wherever it writes.
_CATCH_UP: Final = r"""
local function catch_up(seen)
  local n = tonumber(redis.call("HGET", KEYS[1], "n"))
  if n and n < tonumber(seen) then redis.call("HSET", KEYS[1], "n", seen) end
end
"""

# Behind the keys and arguments of WRITE come those of what is promised; they are taken off. With a transaction's id it
# is the home's part, which decides for all partitions at once.
WRITE_SHARED: Final = Script(
    "#!lua\n"
    + NUMBERS
    + SHORT
    + _CATCH_UP
    + r"""
local NOTES, PROMISED = table.remove(KEYS), table.remove(KEYS)
local txid, least, seen = table.remove(ARGV), table.remove(ARGV), table.remove(ARGV)
catch_up(seen)
if txid == "" and ARGV[1] == "1" and redis.call("HEXISTS", PROMISED, ARGV[2]) == 0 then
  local version, n = append_one()
  if version then return {"done", n, version} end
end
local function promised_to(op) return redis.call("HGET", PROMISED, op.name) end
"""
    + WRITER
    + r"""
local space = load_space()
if not space then return {"gone"} end
local note = txid ~= "" and redis.call("HGET", NOTES, txid)
if txid ~= "" and not note then return {"given up"} end
local ops, refusal = checked_ops(space)
if not ops then return refusal end
local answer, moment = {"done", 0}, moment_of(ops, least)
if note then
  answer[3] = moment
  redis.call("HSET", NOTES, txid, "decided" .. moment .. note:sub(5))
end
write(ops, space, answer, moment)
answer[2] = space.n
return answer
""",
    advances=True,
)

# Notes at its home that a transaction is open, and with whom.
BEGIN: Final = Script(
    r"""#!lua
if redis.call("HEXISTS", KEYS[1], "n") == 0 then return {"gone"} end
redis.call("HSET", KEYS[2], ARGV[1], "open" .. ARGV[2])
return {"done"}
"""
)

# Gives a transaction up, unless it has been decided. Returns the note of what it has come to.
GIVE_UP: Final = Script(
    r"""#!lua flags=allow-oom
local note = redis.call("HGET", KEYS[1], ARGV[1])
if not note or note:sub(1, 4) ~= "open" then return note end
redis.call("HDEL", KEYS[1], ARGV[1])
return false
"""
)

# Checks everything that WRITE checks, and keeps what is to be written; nobody else can write to its streams meanwhile.
PROMISE: Final = Script(
    "#!lua\n"
    r"""
local PROMISE, PROMISED = table.remove(KEYS), table.remove(KEYS)
local txid = table.remove(ARGV)
local function promised_to(op) return redis.call("HGET", PROMISED, op.name) end
"""
    + NUMBERS
    + WRITER
    + r"""
local space = load_space()
if not space then return {"gone"} end
local ops, refusal = checked_ops(space)
if not ops then return refusal end
for _, op in ipairs(ops) do
  redis.call("HSET", PROMISED, op.name, txid)
  if op.stage then redis.call("PERSIST", op.stage) end
end
redis.call("RPUSH", PROMISE, #KEYS)
for _, words in ipairs({KEYS, ARGV}) do
  for at = 1, #words, 1000 do
    redis.call("RPUSH", PROMISE, unpack(words, at, math.min(at + 999, #words)))
  end
end
return {"done", moment_of(ops, NEVER)}
"""
)

# Writes what was promised, if it was not written yet. It was decided, so it may use the last memory.
KEEP: Final = Script(
    "#!lua flags=allow-oom\n"
    + _CATCH_UP
    + r"""
local PROMISE, PROMISED = table.remove(KEYS), table.remove(KEYS)
if redis.call("EXISTS", PROMISE) == 0 then return {"kept"} end
local moment = ARGV[2]
catch_up(ARGV[1])
local ARGV = redis.call("LRANGE", PROMISE, #KEYS + 1, -1)
local function promised_to() return nil end
"""
    + NUMBERS
    + WRITER
    + r"""
local space = load_space()
if not space then return {"kept"} end
local ops, refusal = checked_ops(space)
if not ops then return refusal end
local answer = {"done", 0}
write(ops, space, answer, moment_of(ops, moment))
answer[2] = space.n
for _, op in ipairs(ops) do redis.call("HDEL", PROMISED, op.name) end
redis.call("UNLINK", PROMISE)
return answer
""",
    advances=True,
)

# Forgets what was promised to a transaction that came to nothing. Its uploads are for whoever tries again at once.
BREAK: Final = Script(
    r"""#!lua flags=allow-oom
local PROMISED, txid = KEYS[1], ARGV[1]
local promised = redis.call("HGETALL", PROMISED)
for at = 1, #promised, 2 do
  if promised[at + 1] == txid then redis.call("HDEL", PROMISED, promised[at]) end
end
redis.call("UNLINK", KEYS[2])
for at = 3, #KEYS do redis.call("EXPIRE", KEYS[at], 600) end
return 1
"""
)

# Lets a partition give out greater positions only.
RAISE: Final = Script(
    "#!lua flags=allow-oom\n"
    + _CATCH_UP
    + r"""
catch_up(ARGV[1])
return 1
"""
)
