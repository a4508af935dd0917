--- What is found in records: their spans, and the levels and times of these. Lua counts bytes from 1.
---
--- A call asks much the same again and again, so the last answers are kept.

local function span_of(record)  -- level and start, version, end, recorded
  return record:sub(25, 33) .. record:sub(1, 8) .. record:sub(34, 41) .. record:sub(17, 24)
end

local time_before, other_before  -- the last that was not later
local function is_later(time, other)  -- in halves: a double would lose the last bits
  if time == other or (time == time_before and other == other_before) then return false end
  local high, low = struct.unpack(">I4I4", time)
  local other_high, other_low = struct.unpack(">I4I4", other)
  if high > other_high or (high == other_high and low > other_low) then return true end
  time_before, other_before = time, other
  return false
end

local levels_before, level_added, levels_after
local function with_level(levels, record)
  local level = record:byte(25)
  if levels ~= levels_before or level ~= level_added then
    local at = 8 - math.floor(level / 8)
    local mask = bit.bor(levels:byte(at), bit.lshift(1, level % 8))
    levels_before, level_added = levels, level
    levels_after = levels:sub(1, at - 1) .. string.char(mask) .. levels:sub(at + 1)
  end
  return levels_after
end
