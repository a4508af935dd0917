#!lua flags=no-writes
--- Returns for each stream what an event state is folded from, in one round trip: a snapshot, and the records that follow
--- it. The first ones alone, if all take more memory than there is room. Only a log that may write runs it: plain readers
--- need no permission for scripts.
--- @include "parts/numbers"
--- @include "parts/records"
--- @include "parts/layout"

local ABOVE, RECORD_BYTES = string.rep("\255", 33), 512

local function version_in(span) return text((struct.unpack(">I8", span, 10))) end

local function newest_snapshot(records, spans_key, horizon, moment)
  local high, size = "(" .. "\0" .. horizon .. ABOVE, 1
  while true do
    local spans = redis.call("ZRANGE", spans_key, high, "[" .. "\0", "BYLEX", "REV", "LIMIT", 0, size)
    for _, span in ipairs(spans) do
      if not is_later(span:sub(26, 33), moment) then return redis.call("HGET", records, version_in(span)) end
    end
    if #spans < size then return false end
    high, size = "(" .. spans[#spans], 256
  end
end

local function replayed(H, R, I, SNAPSHOTS, SNAPSHOT_SPANS, known, last, horizon, moment)
  local after = tonumber(known)
  local head = load_head(H, R)
  if not head then return false end

  local function is_lost(version)  -- records of earlier units may be; others were folded under this incarnation
    return version > head.floor and version < base_of(head.version)
      and redis.call("HEXISTS", R, text(version)) == 0
  end
  local packed = redis.call("GETRANGE", H, 0, -1)
  if after and after > 0 and is_lost(after) then  -- then a fold of it is of no use, as after a rewrite
    return {packed:sub(1, 8) .. packed:sub(1, 8) .. packed:sub(17), false}
  end

  local snapshot = false
  if not after then
    after = 0
    snapshot = newest_snapshot(SNAPSHOTS, SNAPSHOT_SPANS, horizon, moment)
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

  local answer = {packed, snapshot}
  for _, version in ipairs(versions) do
    local record = redis.call("HGET", R, version)
    if record and not is_later(record:sub(17, 24), moment) then answer[#answer + 1] = record end
  end
  return answer
end

local room, size = tonumber(ARGV[1]), 0
local function has_room(answer)
  for at = 2, answer and #answer or 0 do
    if answer[at] then size = size + RECORD_BYTES + #answer[at] end
  end
  return not room or size <= room
end

local answers = {}
for at = 1, #KEYS / 5 do
  local k, a = 5 * at - 4, 4 * at - 2
  local answer = replayed(
    KEYS[k], KEYS[k + 1], KEYS[k + 2], KEYS[k + 3], KEYS[k + 4], ARGV[a], ARGV[a + 1], ARGV[a + 2], ARGV[a + 3])
  if not has_room(answer) and at > 1 then break end
  answers[at] = answer
end
return answers
