"""The script that writes to a partition: batches, rewrites and copies, as ``_redis_writes.py`` sends them."""

from __future__ import annotations

from typing import Final

from rstore.adapters.redis.lua import LAYOUT, NUMBERS, Script

# One entry for a live stream, which is what nearly all appends are: without the functions below it takes half the time.
# It does what append() does, and leaves to that whatever it does not find simple, before it has changed anything.
SHORT: Final = r"""
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

# What a write is made of. ``space`` is the partition's meta; an ``op`` is a Batch, a Rewrite or a Copy of one stream.
_WRITES: Final = r"""
local META, FEED, LIVE, ALL = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local next_key, next_arg = 5, 1

local function key() next_key = next_key + 1; return KEYS[next_key - 1] end
local function arg() next_arg = next_arg + 1; return ARGV[next_arg - 1] end

local function read_op()
  local op = {h = key(), r = key(), i = key(), name = arg()}
  op.verb, op.inline, op.live, op.option, op.has_expect, op.has_floor, op.stage, op.expect, op.floor, op.count,
    op.recorded = struct.unpack(">BBBBBBBI8I8I4c8", arg())
  if op.verb == 1 or op.verb == 2 then op.g, op.o = key(), key() end
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

local function add(op, record)  -- the newest record
  op.head.levels = with_level(op.head.levels, record)
  if op.inline == 1 then
    if op.head.record then file(op, op.head.record) end
    op.head.record = record
  else
    file(op, record)
  end
  op.head.newest, op.head.recorded = version_of(record), record:sub(17, 24)
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
  if replace then remove_all(op, space) end
  for body in parts(op) do
    head.version, space.n = math.max(head.version, base) + 1, space.n + 1
    local version = text(head.version)
    local record = number8(head.version) .. number8(space.n) .. recorded .. body
    redis.call("XADD", FEED, text(space.n) .. "-0", "s", op.name, "v", version)
    add(op, record)
  end
  if replace then head.floor = head.version end
  if op.live == 0 then head.died = head.version end
  set_live(op, op.live)
  store_head(op.h, head)
  return head.version
end
"""

# A part is version and place, which is the record's number among all that are restored at once, then what follows the
# position in a record. ``first`` is the position before all of these; the feed is given them when all are there.
_RESTORE: Final = r"""
local function restore(op, space, first, fed)
  local version, known = op.expect, op.head and op.head.version or 0
  if not op.head then
    redis.call("ZADD", ALL, 0, op.name)
    op.head = {version = 0, floor = 0, died = 0, era = space.n, newest = 0, filed = 0,
      live = 0, recorded = NEVER, levels = NO_LEVELS}
  end
  for part in parts(op) do
    local own, place = struct.unpack(">I8I8", part)
    if own > known then
      add(op, number8(own) .. number8(first + place) .. part:sub(17))
      fed[#fed + 1] = {first + place, op.name, text(own)}
    end
    space.n = math.max(space.n, first + place)
  end
  if version < known then return known end
  if version > known then op.head.version, op.head.floor = version, version end
  op.head.died = op.floor
  set_live(op, op.live)
  store_head(op.h, op.head)
  return version
end

local function feed(fed)
  table.sort(fed, function(one, other) return one[1] < other[1] end)
  for _, entry in ipairs(fed) do
    redis.call("XADD", FEED, text(entry[1]) .. "-0", "s", entry[2], "v", entry[3])
  end
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

local function moment_of(ops, least)  -- when all that is appended is recorded: none earlier than what is there
  local moment = least
  for _, op in ipairs(ops) do
    if op.verb < 2 then
      if is_later(op.recorded, moment) then moment = op.recorded end
      if op.head and op.head.newest > 0 and is_later(op.head.recorded, moment) then moment = op.head.recorded end
    end
  end
  return moment
end

local function write(ops, space, answer, moment)
  for _, op in ipairs(ops) do  -- no version is above the position
    if op.verb == 3 then space.n = math.max(space.n, op.expect) end
  end
  local first, fed = space.n, {}
  for _, op in ipairs(ops) do
    if op.verb == 3 then
      answer[#answer + 1] = restore(op, space, first, fed)
    elseif op.verb == 2 then
      local records, bytes = rewrite(op, space)
      answer[#answer + 1] = records
      answer[#answer + 1] = bytes
    else
      op.recorded = moment
      answer[#answer + 1] = append(op, space)
    end
  end
  feed(fed)
  redis.call("HSET", META, "n", text(space.n), "floor", text(space.floor))
end
"""

WRITER: Final = LAYOUT + _WRITES + _APPEND + _RESTORE + _REWRITE + _MAIN
"""What all need that check and write."""

WRITE: Final = Script(
    "#!lua\n"
    + NUMBERS
    + SHORT
    + r"""
if ARGV[1] == "1" then
  local version = append_one()
  if version then return version end
end
local function promised_to() return nil end
"""
    + WRITER
    + r"""
local space = load_space()
if not space then return {"gone"} end
local ops, refusal = checked_ops(space)
if not ops then return refusal end
local answer = {"done"}
write(ops, space, answer, moment_of(ops, NEVER))
return answer
""",
    advances=True,
)
