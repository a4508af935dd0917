--- The steps of a write. `space` is the meta of the partition. An `op` is a Batch, a Rewrite or a Copy of one stream.
---
--- A record that a rewrite takes away is retired: its readers still find it for a while. Here the stored words apply:
--- retired records are in `graves`.

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
