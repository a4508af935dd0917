"""The scripts that Redis runs for us, each atomic within a partition.

Redis takes nothing back: a script that fails half-way leaves what it did. So a write checks everything first, and what
could still fail is excluded otherwise: ``#!lua`` without flags refuses to start without memory to spare, or where
writes are refused. All keys that are touched are declared; in a cluster whose slots are moving, others would seem to be
missing. Numbers go out as text by ``%.0f``, since Lua writes large ones as 1e+15. Strings are never compared by
``<``, which asks the locale.
"""

from __future__ import annotations

from hashlib import sha1
from typing import Final

from attrs import field, frozen

from rstore.adapters._redis_layout import MOST, UNIT


@frozen
class Script:
    """A script, and the name that a server knows it by once it has seen it.

    One that ``advances`` gives out versions or positions: the partition whose meta is its first key has to be above all
    that its server may have lost, see :data:`LIFT`.
    """

    source: str
    advances: bool = False
    sha: bytes = field(init=False)

    @sha.default
    def _sha(self) -> bytes:
        return sha1(self.source.encode(), usedforsecurity=False).hexdigest().encode()


# What somebody else has written under our keys is an error, by a code that is translated like those of the server,
# before anything is written. Unchecked, a loop from one version to another would hold up the server for ever.
_NUMBERS: Final = f"""
local MOST, UNIT = {MOST}, {UNIT}
local function damaged() error({{err = "DAMAGED by somebody else"}}) end
local function base_of(n) return n - n % UNIT end
"""

# One entry for a live stream, which is what nearly all appends are: without the functions below it takes half the time.
# It does what append() does, and leaves to that whatever it does not find simple, before it has changed anything.
_SHORT: Final = r"""
local function append_one()
  local META, FEED, H, R, I = KEYS[1], KEYS[2], KEYS[5], KEYS[6], KEYS[7]
  local packed = redis.call("GET", H)
  if not packed or (#packed ~= 65 and #packed < 114) then return nil end
  local version, floor, died, era, newest, filed, live = struct.unpack(">I8I8I8I8I8I8B", packed)
  local replace, inline, lives, _, has_expect, _, staged, expect, _, count, recorded =
    struct.unpack(">BBBBBBBI8I8I4c8", ARGV[3])
  if replace > 1 or live + lives < 2 or staged == 1 or count ~= 1 or newest == 0 then return nil end
  if math.max(newest, filed) > version or era > MOST or live > 1 or (inline == 1 and #packed == 65) then return nil end
  if (has_expect == 1 and expect ~= version) or (replace == 1 and (filed > 0 or inline == 0)) then return nil end
  local body = ARGV[4]
  local level = body:byte(1)
  if bit.band(packed:byte(65 - math.floor(level / 8)), bit.lshift(1, level % 8)) == 0 then return nil end
  local n = redis.call("HINCRBY", META, "n", 1)
  if n <= version or n > MOST then  -- there was none: the partition was discarded; or it is damaged
    if n == 1 then redis.call("HDEL", META, "n") else redis.call("HINCRBY", META, "n", -1) end
    return nil
  end

  local known = packed:sub(50, 57)
  local high, low = struct.unpack(">I4I4", recorded)
  local known_high, known_low = struct.unpack(">I4I4", known)
  if known_high > high or (known_high == high and known_low > low) then recorded = known end
  version = math.max(version, base_of(n - 1)) + 1
  local field = string.format("%.0f", version)
  local record = struct.pack(">I8I8", version, n) .. recorded .. body
  redis.call("XADD", FEED, string.format("%.0f-0", n), "s", ARGV[2], "v", field)

  local old, shown = record, ""
  if inline == 1 then
    old, shown = packed:sub(66), record
    field = string.format("%.0f", (struct.unpack(">I8", old)))
  end
  if replace == 1 then
    era, floor = n, version
    redis.call("XDEL", FEED, string.format("%.0f", (struct.unpack(">I8", old, 9))) .. "-0")
  else
    redis.call("HSET", R, field, old)
    redis.call("ZADD", I, 0, old:sub(25, 33) .. old:sub(1, 8) .. old:sub(34, 41) .. old:sub(17, 24))
    filed = filed + 1
  end
  redis.call("SET", H, struct.pack(">I8I8I8I8I8I8B", version, floor, died, era, version, filed, live)
    .. recorded .. packed:sub(58, 65) .. shown)
  return version, n
end
"""

# The layout of heads, records and spans is described in _redis_layout.py. Lua counts bytes from 1.
_LAYOUT: Final = r"""
local NEVER, NO_LEVELS = string.rep("\0", 8), string.rep("\0", 8)

local function number8(value) return struct.pack(">I8", value) end
local function text(value) return string.format("%.0f", value) end

local function load_head(key, records)
  local packed = redis.call("GET", key)
  if not packed then return nil end
  if #packed ~= 65 and #packed < 114 then damaged() end
  local head = {recorded = packed:sub(50, 57), levels = packed:sub(58, 65)}
  head.version, head.floor, head.died, head.era, head.newest, head.filed, head.live =
    struct.unpack(">I8I8I8I8I8I8B", packed)
  if #packed > 65 then head.record = packed:sub(66) end
  if head.version > MOST or head.era > MOST or math.max(head.newest, head.floor, head.died) > head.version
    or head.live > 1 or head.filed > redis.call("HLEN", records)
    or (head.record and struct.unpack(">I8", head.record) ~= head.newest) then damaged() end
  return head
end

local function store_head(key, head)
  local fixed = struct.pack(">I8I8I8I8I8I8B",
    head.version, head.floor, head.died, head.era, head.newest, head.filed, head.live)
  redis.call("SET", key, fixed .. head.recorded .. head.levels .. (head.record or ""))
end

local function version_of(record) return (struct.unpack(">I8", record)) end
local function position_of(record) return (struct.unpack(">I8", record, 9)) end
local function span_of(record)  -- level and start, version, end, recorded
  return record:sub(25, 33) .. record:sub(1, 8) .. record:sub(34, 41) .. record:sub(17, 24)
end
local function data_size(record)
  local item, op, meta = struct.unpack(">I2I2I4", record, 42)
  return #record - 49 - item - op - math.max(meta - 1, 0)
end

local function is_later(time, other)  -- in halves: a double would lose the last bits
  local high, low = struct.unpack(">I4I4", time)
  local other_high, other_low = struct.unpack(">I4I4", other)
  return high > other_high or (high == other_high and low > other_low)
end

local function with_level(levels, record)
  local level = record:byte(25)
  local at = 8 - math.floor(level / 8)
  local mask = bit.bor(levels:byte(at), bit.lshift(1, level % 8))
  if mask == levels:byte(at) then return levels end
  return levels:sub(1, at - 1) .. string.char(mask) .. levels:sub(at + 1)
end
"""

# What a write is made of. ``space`` is the partition's meta; an ``op`` is a Batch or a Rewrite of one stream.
_WRITES: Final = r"""
local META, FEED, LIVE, ALL = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local next_key, next_arg = 5, 1

local function key() next_key = next_key + 1; return KEYS[next_key - 1] end
local function arg() next_arg = next_arg + 1; return ARGV[next_arg - 1] end

local function read_op()
  local op = {h = key(), r = key(), i = key(), name = arg()}
  op.verb, op.inline, op.live, op.option, op.has_expect, op.has_floor, op.stage, op.expect, op.floor, op.count,
    op.recorded = struct.unpack(">BBBBBBBI8I8I4c8", arg())
  if op.verb > 0 then op.g, op.o = key(), key() end
  if op.verb == 2 then op.drop = arg() end
  if op.stage == 1 then
    op.stage = key()
  else
    op.stage, op.first = nil, next_arg
    next_arg = next_arg + op.count
  end
  return op
end

local function parts(op)  -- what is written, one by one; what was staged is used up
  local given = 0
  return function()
    given = given + 1
    if given > op.count then return nil end
    if op.stage then return redis.call("LPOP", op.stage) end
    return ARGV[op.first + given - 1]
  end
end

local function is_expected(op)
  local version, floor = 0, 0
  if op.head then version, floor = op.head.version, op.head.floor end
  return (op.has_expect == 0 or op.expect == version) and (op.has_floor == 0 or op.floor == floor), version, floor
end

local function file(op, record)  -- where all records are, but the newest one of a key
  redis.call("HSET", op.r, text(version_of(record)), record)
  redis.call("ZADD", op.i, 0, span_of(record))
  op.head.filed = op.head.filed + 1
end

local function unfile(op, record)
  redis.call("HDEL", op.r, text(version_of(record)))
  redis.call("ZREM", op.i, span_of(record))
  op.head.filed = op.head.filed - 1
end

-- What is buried stays for a minute at least: its key lives for two, and is added to for one. So what is rewritten all
-- the time does not gather all that it ever was. The names of the streams live for twice as long, since the graveyard
-- that is noted last has all of its life before it.
local function rotate(young, old, milliseconds)
  local left = redis.call("PTTL", young)
  if left >= milliseconds / 2 then return false end
  if left >= 0 then redis.call("RENAME", young, old) end
  return true
end

local function open_graves(op)
  if rotate(op.g, op.o, 120000) then
    redis.call("HSET", op.g, "since", number8(op.head.era))
    redis.call("PEXPIRE", op.g, 120000)
  end
  local is_new = rotate(KEYS[#KEYS - 1], KEYS[#KEYS], 240000)
  redis.call("SADD", KEYS[#KEYS - 1], op.name)
  if is_new then redis.call("PEXPIRE", KEYS[#KEYS - 1], 240000) end
end

local function bury(op, era, record)
  redis.call("HSET", op.g, number8(era) .. span_of(record), record)
end

local function set_live(op, live)
  if live == op.head.live then return end
  op.head.live = live
  if live == 1 then redis.call("ZADD", LIVE, 0, op.name) else redis.call("ZREM", LIVE, op.name) end
end
"""

_APPEND: Final = r"""
local function new_head(op, space)
  redis.call("ZADD", ALL, 0, op.name)
  local start = math.max(space.floor, base_of(space.n))
  return {version = start, floor = start, died = 0, era = space.n, newest = 0, filed = 0,
    live = 0, recorded = NEVER, levels = NO_LEVELS}
end

local function remove_all(op, space)
  local head = op.head
  space.n = space.n + 1
  if head.record then
    redis.call("XDEL", FEED, text(position_of(head.record)) .. "-0")
  end
  if head.filed > 0 then
    open_graves(op)
    for _, version in ipairs(redis.call("HKEYS", op.r)) do
      local record = redis.call("HGET", op.r, version)
      bury(op, space.n, record)
      redis.call("XDEL", FEED, text(position_of(record)) .. "-0")
    end
    redis.call("UNLINK", op.r, op.i)
  end
  head.era, head.newest, head.filed, head.record, head.levels = space.n, 0, 0, nil, NO_LEVELS
end

local function append(op, space)
  local if_live, replace = op.option == 1, op.verb == 1
  if if_live and (not op.head or op.head.live == 0) then
    return op.head and op.head.version or 0
  end
  op.head = op.head or new_head(op, space)
  local head, recorded, base = op.head, op.recorded, base_of(space.n)
  if head.newest > 0 and is_later(head.recorded, recorded) then recorded = head.recorded end
  if replace then remove_all(op, space) end
  for body in parts(op) do
    head.version, space.n = math.max(head.version, base) + 1, space.n + 1
    local version = text(head.version)
    local record = number8(head.version) .. number8(space.n) .. recorded .. body
    redis.call("XADD", FEED, text(space.n) .. "-0", "s", op.name, "v", version)
    head.levels = with_level(head.levels, record)
    if op.inline == 1 then
      if head.record then file(op, head.record) end
      head.record = record
    else
      file(op, record)
    end
    head.newest, head.recorded = head.version, recorded
  end
  if replace then head.floor = head.version end
  if op.live == 0 then head.died = head.version end
  set_live(op, op.live)
  store_head(op.h, head)
  return head.version
end
"""

_REWRITE: Final = r"""
local function add_if_there(op, found, version)
  if version == op.head.newest or redis.call("HEXISTS", op.r, text(version)) == 1 then
    if not found[version] then found.count = found.count + 1 end
    found[version] = true
  end
end

local function dropped_versions(op)  -- those of them that there are
  local found = {count = 0}
  if op.drop:byte(1) == 1 then
    for at = 2, #op.drop, 8 do add_if_there(op, found, (struct.unpack(">I8", op.drop, at))) end
    return found
  end
  local start, last, step = struct.unpack(">I8I8I8", op.drop, 2)
  if (last - start) / step < op.head.filed then  -- whichever is shorter: the range or the stream
    for version = start, last, step do add_if_there(op, found, version) end
    return found
  end
  local function add_if_dropped(version)
    if version >= start and version <= last and (version - start) % step == 0 then
      add_if_there(op, found, version)
    end
  end
  if op.head.newest > 0 then add_if_dropped(op.head.newest) end
  for _, version in ipairs(redis.call("HKEYS", op.r)) do add_if_dropped(tonumber(version) or 0) end
  return found
end

local function newest_version(op)
  local newest = 0
  for _, version in ipairs(redis.call("HKEYS", op.r)) do newest = math.max(newest, tonumber(version) or 0) end
  return newest
end

local function take_away(op, era, version, inline)
  local record = redis.call("HGET", op.r, text(version))
  -- a reader has got what was in the head together with it
  if version ~= inline then bury(op, era, record) end
  unfile(op, record)
  return record
end

local function forget(op, space)
  space.floor = math.max(space.floor, op.head.version)
  redis.call("UNLINK", op.h, op.r, op.i)
  redis.call("ZREM", ALL, op.name)
  redis.call("ZREM", LIVE, op.name)
end

local function rewrite(op, space)
  local head, base, records, bytes = op.head, base_of(space.n), 0, 0
  if not head then return 0, 0 end
  local dropped = dropped_versions(op)
  local live = op.live
  if live == 2 then live = head.live end
  if dropped.count == 0 and live == head.live and (live == 1 or head.newest > 0) then return 0, 0 end
  records, dropped.count = dropped.count, nil

  local inline
  if head.record then  -- filed for the time being, so that it is like all others
    file(op, head.record)
    inline, head.record = head.newest, nil
  end
  space.n = space.n + 1
  if head.filed > (inline and 1 or 0) then open_graves(op) end

  local newest = head.newest
  for part in parts(op) do
    local version = version_of(part)
    if dropped[version] then
      dropped[version] = nil
      local old = take_away(op, space.n, version, inline)
      local new = old:sub(1, 16) .. part:sub(9)
      file(op, new)
      head.levels = with_level(head.levels, new)
      head.died = math.min(head.died, version - 1)
      records, bytes = records - 1, bytes + data_size(old) - data_size(new)
    end
  end
  for version in pairs(dropped) do
    local old = take_away(op, space.n, version, inline)
    redis.call("XDEL", FEED, text(position_of(old)) .. "-0")
    bytes = bytes + data_size(old)
    if version == head.newest then newest = nil end
  end

  head.era, head.newest = space.n, newest or newest_version(op)
  if op.option == 1 then
    head.version = math.max(head.version, base) + 1
    head.floor = head.version
  end
  set_live(op, live)
  if head.newest == 0 and live == 0 then
    forget(op, space)
    return records, bytes
  end
  if head.newest == 0 then
    head.levels = NO_LEVELS
  else
    local record = redis.call("HGET", op.r, text(head.newest))
    head.recorded = record:sub(17, 24)
    if op.inline == 1 then
      unfile(op, record)
      head.record = record
    end
  end
  store_head(op.h, head)
  return records, bytes
end
"""

# ``promised_to(op)`` returns the transaction that a stream is promised to.
_MAIN: Final = r"""
local function load_space()
  local n, floor = unpack(redis.call("HMGET", META, "n", "floor"))
  if not n then return nil end
  local space = {n = tonumber(n), floor = tonumber(floor)}
  if not (space.n and space.floor and space.floor <= space.n and space.n <= MOST) then damaged() end
  local last = redis.call("XREVRANGE", FEED, "+", "-", "COUNT", 1)[1]
  if last and tonumber(last[1]:match("%d+")) > space.n then damaged() end
  return space
end

local function checked_ops(space)  -- or nil, and why they can't be written
  local ops = {}
  for at = 1, tonumber(arg()) do
    local op = read_op()
    op.head = load_head(op.h, op.r)
    if op.head and math.max(op.head.version, op.head.era) > space.n then damaged() end
    local txid = promised_to(op)
    if txid then return nil, {"promised", txid} end
    local expected, version, floor = is_expected(op)
    if not expected then return nil, {"conflict", at - 1, version, floor} end
    if op.stage and redis.call("LLEN", op.stage) ~= op.count then return nil, {"expired"} end
    ops[at] = op
  end
  return ops
end

local function write(ops, space, answer)
  for _, op in ipairs(ops) do
    if op.verb == 2 then
      local records, bytes = rewrite(op, space)
      answer[#answer + 1] = records
      answer[#answer + 1] = bytes
    else
      answer[#answer + 1] = append(op, space)
    end
  end
  redis.call("HSET", META, "n", text(space.n), "floor", text(space.floor))
end
"""

_WRITER: Final = _LAYOUT + _WRITES + _APPEND + _REWRITE + _MAIN
"""What all need that check and write."""

WRITE: Final = Script(
    "#!lua\n"
    + _NUMBERS
    + _SHORT
    + r"""
if ARGV[1] == "1" then
  local version = append_one()
  if version then return version end
end
local function promised_to() return nil end
"""
    + _WRITER
    + r"""
local space = load_space()
if not space then return {"gone"} end
local ops, refusal = checked_ops(space)
if not ops then return refusal end
local answer = {"done"}
write(ops, space, answer)
return answer
""",
    advances=True,
)

# -- several partitions: what they promise each other is explained in _redis_transactions.py --------------------------

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
    + _NUMBERS
    + _SHORT
    + _CATCH_UP
    + r"""
local NOTES, PROMISED = table.remove(KEYS), table.remove(KEYS)
local txid, seen = table.remove(ARGV), table.remove(ARGV)
catch_up(seen)
if txid == "" and ARGV[1] == "1" and redis.call("HEXISTS", PROMISED, ARGV[2]) == 0 then
  local version, n = append_one()
  if version then return {"done", n, version} end
end
local function promised_to(op) return redis.call("HGET", PROMISED, op.name) end
"""
    + _WRITER
    + r"""
local space = load_space()
if not space then return {"gone"} end
local note = txid ~= "" and redis.call("HGET", NOTES, txid)
if txid ~= "" and not note then return {"given up"} end
local ops, refusal = checked_ops(space)
if not ops then return refusal end
local answer = {"done", 0}
write(ops, space, answer)
answer[2] = space.n
if note then redis.call("HSET", NOTES, txid, "decided" .. note:sub(5)) end
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
    + _NUMBERS
    + _WRITER
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
return {"done"}
"""
)

# Writes what was promised, if it was not written yet. It was decided, so it may use the last memory.
KEEP: Final = Script(
    "#!lua flags=allow-oom\n"
    + _CATCH_UP
    + r"""
local PROMISE, PROMISED = table.remove(KEYS), table.remove(KEYS)
if redis.call("EXISTS", PROMISE) == 0 then return {"kept"} end
catch_up(ARGV[1])
local ARGV = redis.call("LRANGE", PROMISE, #KEYS + 1, -1)
local function promised_to() return nil end
"""
    + _NUMBERS
    + _WRITER
    + r"""
local space = load_space()
if not space then return {"kept"} end
local ops, refusal = checked_ops(space)
if not ops then return refusal end
local answer = {"done", 0}
write(ops, space, answer)
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
  local seconds = math.floor((tonumber(info:match("server_time_usec:(%d+)")) or 0) / 1000000)
  local clock = (seconds + 2) * UNIT  -- it goes faster than anybody writes
  if clock > MOST / 2 then clock = 0 end
  local run, history = info:match("run_id:(%x+)") or "", info:match("master_replid:(%x+)") or ""
  return run:sub(1, 20) .. "-" .. history:sub(1, 20), clock  -- 80 bits of each: a hash of short values is a small one
end
"""

LIFT: Final = Script(
    "#!lua flags=allow-oom\n"
    + _NUMBERS
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
    + _NUMBERS
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
    + _NUMBERS
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

# What a projection is folded from, in one round trip. Only for a log that may write: others need no such permission.
REPLAY: Final = Script(
    "#!lua flags=no-writes\n"
    + _NUMBERS
    + _LAYOUT
    + r"""
local H, R, I, SNAPSHOTS, SNAPSHOT_SPANS = KEYS[1], KEYS[2], KEYS[3], KEYS[5], KEYS[6]
local after, last, horizon = tonumber(ARGV[1]), ARGV[2], ARGV[3]
local ABOVE = string.rep("\255", 33)
local head = load_head(H, R)
if not head then return false end

local function is_lost(version)  -- records of earlier units may be; others were folded under this incarnation
  return version > head.floor and version < base_of(head.version)
    and redis.call("HEXISTS", R, text(version)) == 0
end
if after and after > 0 and is_lost(after) then  -- then a fold of it is of no use, as after a rewrite
  local packed = redis.call("GETRANGE", H, 0, -1)
  return {packed:sub(1, 8) .. packed:sub(1, 8) .. packed:sub(17), false}
end

local function version_in(span) return text((struct.unpack(">I8", span, 10))) end

local snapshot = false
if not after then
  after = 0
  local span = redis.call("ZRANGE", SNAPSHOT_SPANS, "(" .. "\0" .. horizon .. ABOVE, "[" .. "\0", "BYLEX", "REV",
    "LIMIT", 0, 1)[1]
  snapshot = span and redis.call("HGET", SNAPSHOTS, version_in(span)) or false
  if snapshot then
    local item = struct.unpack(">I2", snapshot, 42)
    after = tonumber(snapshot:sub(50, 49 + item)) or 0
  end
end

local versions = {}
if after > 0 and head.version - after <= 2 * head.filed then  -- dense, but for what was dropped
  for version = after + 1, head.version do versions[#versions + 1] = text(version) end
elseif after < head.version then
  for level = 0, 63 do
    if bit.band(head.levels:byte(8 - math.floor(level / 8)), bit.lshift(1, level % 8)) > 0 then
      local low = string.char(level)
      for _, span in ipairs(redis.call("ZRANGE", I, "[" .. low, "(" .. low .. last .. ABOVE, "BYLEX")) do
        if struct.unpack(">I8", span, 10) > after then versions[#versions + 1] = version_in(span) end
      end
    end
  end
end

local answer = {redis.call("GETRANGE", H, 0, -1), snapshot}
for _, version in ipairs(versions) do
  local record = redis.call("HGET", R, version)
  if record then answer[#answer + 1] = record end
end
return answer
"""
)
