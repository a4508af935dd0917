#!lua flags=no-writes
--- Returns the records that an event state is folded from, in one round trip: a snapshot, and those that follow it.
--- Only a log that may write runs it: plain readers need no permission for scripts.
--- @include "parts/numbers"
--- @include "parts/records"
--- @include "parts/layout"

local H, R, I, SNAPSHOTS, SNAPSHOT_SPANS = KEYS[1], KEYS[2], KEYS[3], KEYS[5], KEYS[6]
local after, last, horizon, moment = tonumber(ARGV[1]), ARGV[2], ARGV[3], ARGV[4]
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

local function newest_snapshot()
  local high, size = "(" .. "\0" .. horizon .. ABOVE, 1
  while true do
    local spans = redis.call("ZRANGE", SNAPSHOT_SPANS, high, "[" .. "\0", "BYLEX", "REV", "LIMIT", 0, size)
    for _, span in ipairs(spans) do
      if not is_later(span:sub(26, 33), moment) then return redis.call("HGET", SNAPSHOTS, version_in(span)) end
    end
    if #spans < size then return false end
    high, size = "(" .. spans[#spans], 256
  end
end

local snapshot = false
if not after then
  after = 0
  snapshot = newest_snapshot()
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
        if struct.unpack(">I8", span, 10) > after and not is_later(span:sub(26, 33), moment) then
          versions[#versions + 1] = version_in(span)
        end
      end
    end
  end
end

local answer = {redis.call("GETRANGE", H, 0, -1), snapshot}
for _, version in ipairs(versions) do
  local record = redis.call("HGET", R, version)
  if record and not is_later(record:sub(17, 24), moment) then answer[#answer + 1] = record end
end
return answer
