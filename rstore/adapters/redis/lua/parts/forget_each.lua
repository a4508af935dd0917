--- The short way for rewrites that forget keys with one record at most. It has the effect of rewrite(), and takes a few
--- commands for thousands of keys.
---
--- It returns nothing where a case is not simple, before it has changed anything; the long way then decides.

local function checked_keys()  -- those to forget, and what goes with them
  local gone = {keys = {}, names = {}, entries = {}, sizes = {}, highest = 0, version = 0}
  local number, page = tonumber(ARGV[1]), nil
  for nth = 1, number do
    local name, form, drop = ARGV[3 * nth - 1], form_of(ARGV[3 * nth]), ARGV[3 * nth + 1]
    if form.verb ~= 2 or form.inline == 0 or form.lives ~= 0 or form.if_live == 0 or form.count > 0
      or drop:byte(1) == 1 then return nil end
    if nth % PAGE == 1 then page = packed_heads(nth, math.min(nth + PAGE - 1, number), 5) end
    local packed, version, floor = page and page[(nth - 1) % PAGE + 1], 0, 0
    if not page then return nil end
    if packed then
      local live, high
      version, live, high = checked_head(packed, 0)
      if not version then return nil end
      floor = struct.unpack(">I8", packed, 9)
      gone.highest, gone.version = math.max(gone.highest, high), math.max(gone.version, version)
      gone.keys[#gone.keys + 1], gone.names[#gone.names + 1] = KEYS[5 * nth], name
    end
    if form.has_expect == 1 and form.expect ~= version then return nil end
    if form.has_floor == 1 and form.floor ~= floor then return nil end
    if packed and #packed > 65 then
      local newest, position = struct.unpack(">I8I8", packed, 66)
      local first, last, step = struct.unpack(">I8I8I8", drop, 2)
      if newest < first or newest > last or step > 1 then return nil end
      local item, op, meta = struct.unpack(">I2I2I4", packed, 107)
      gone.entries[#gone.entries + 1] = string.format("%.0f-0", position)
      gone.sizes[nth] = #packed - 114 - item - op - math.max(meta - 1, 0)
    end
  end
  redis.call("ZCARD", KEYS[3])
  redis.call("ZCARD", KEYS[4])
  return gone
end

local function forget_each(answer, moment)  -- adds records and bytes, returns the last position and the time
  local gone = checked_keys()
  if not gone then return nil end
  local n, floor = given_out(#gone.names, gone.highest, false)
  if not n then return nil end
  n = n + #gone.names
  floor = math.max(floor, gone.version + 1, base_of(n - 1) + 1)
  if #gone.names > 0 then redis.call("HSET", KEYS[1], "floor", string.format("%.0f", floor)) end
  change_names("XDEL", KEYS[2], gone.entries)
  change_names("ZREM", KEYS[3], gone.names)
  change_names("ZREM", KEYS[4], gone.names)
  for first = 1, #gone.keys, 1000 do
    redis.call("UNLINK", unpack(gone.keys, first, math.min(first + 999, #gone.keys)))
  end
  for nth = 1, tonumber(ARGV[1]) do
    answer[#answer + 1], answer[#answer + 2] = gone.sizes[nth] and 1 or 0, gone.sizes[nth] or 0
  end
  return n, moment
end
