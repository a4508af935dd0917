#!lua flags=no-writes
--- Finds the newest record of each stream by a time, in one round trip. Only a log that may write runs it: plain
--- readers need no permission for scripts.
---
--- The spans of a key are in the order of their versions, and so of their times: they are bisected. Of other streams
--- the records are bisected, as long as no version is missing among them; otherwise all spans are looked at.
--- @include "parts/numbers"

local is_whole = ARGV[2] == "1"
local moment_high, moment_low = struct.unpack(">I4I4", ARGV[1])  -- in halves: a double would lose the last bits

local function text(value) return string.format("%.0f", value) end
local function version_in(span) return (struct.unpack(">I8", span, 10)) end
local function is_by_then(packed, at)  -- the time that begins there
  local high, low = struct.unpack(">I4I4", packed, at)
  return high < moment_high or (high == moment_high and low <= moment_low)
end

local function bisected(low, high, is_one)  -- the last one from low on, which is, to high, which is not; nil: not known
  while high - low > 1 do
    local middle = math.floor((low + high) / 2)
    local answer = is_one(middle)
    if answer == nil then return nil end
    if answer then low = middle else high = middle end
  end
  return low
end

local function version_of_key(I)
  local near = redis.call("ZRANGE", I, -16, -1)
  local nth = bisected(0, #near + 1, function(middle) return is_by_then(near[middle], 26) end)
  if nth > 0 then return version_in(near[nth]) end
  if #near < 16 then return nil end
  local function span_at(rank) return redis.call("ZRANGE", I, rank, rank)[1] end
  local rank = bisected(-1, redis.call("ZCARD", I) - 16, function(middle) return is_by_then(span_at(middle), 26) end)
  return rank >= 0 and version_in(span_at(rank)) or nil
end

local function version_in_order(R, newest, filed)
  local oldest = newest - filed
  local version = bisected(oldest, newest, function(middle)
    local record = redis.call("HGET", R, text(middle))
    if not record then return nil end
    return is_by_then(record, 17)
  end)
  return version and version > oldest and version or nil
end

local function version_of_any(I)
  local newest = 0
  for rank = 0, redis.call("ZCARD", I) - 1, 4096 do
    for _, span in ipairs(redis.call("ZRANGE", I, rank, rank + 4095)) do
      local version = version_in(span)
      if version > newest and is_by_then(span, 26) then newest = version end
    end
  end
  return newest > 0 and newest or nil
end

local function newest_of(H, R, I)
  local packed = redis.call("GET", H)
  if not packed then return nil end
  if #packed ~= 65 and #packed < 114 then damaged() end
  local newest, filed = struct.unpack(">I8I8", packed, 33)
  if newest == 0 then return nil end
  if newest > MOST or filed > newest then damaged() end
  local is_key, version = #packed > 65, newest
  if is_by_then(packed, 50) then
    if is_key then return packed:sub(66) end
  elseif is_key then
    version = version_of_key(I)
  else
    version = version_in_order(R, newest, filed) or version_of_any(I)
  end
  return version and redis.call("HGET", R, text(version))
end

local function shown(record)  -- without what is sealed, if nobody asks for that
  if is_whole then return record end
  local item, op = struct.unpack(">I2I2", record, 42)
  return record:sub(1, 49 + item + op)
end

local answer = {}
for at = 1, #KEYS, 3 do
  local record = newest_of(KEYS[at], KEYS[at + 1], KEYS[at + 2])
  if record and #record < 49 then damaged() end
  answer[#answer + 1] = record and shown(record) or false
end
return answer
