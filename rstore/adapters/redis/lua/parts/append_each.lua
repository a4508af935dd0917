--- The short way for appends to one stream, or to thousands. It does what append() does. Without the functions of the
--- long way, a call for one stream takes two thirds of the time. For many streams, one command reads a page of heads, and
--- one changes them. For one entry of a live stream, append_one() is faster still.
---
--- It returns nothing where a case is not simple, before it has changed anything; the long way then decides. So it takes
--- no Rewrite, no Copy, no upload, and nothing that a writer did not expect.
---
--- A key of another type, which a foreign program wrote, is found before the first change: Redis would keep the part that
--- was written by then. ZCARD and HLEN raise there. They are 2 to 4 percent of a call for thousands of known keys. A
--- call for one stream asks for neither its records nor its spans, as append_one() does.

local PAGE, PAGE_BYTES, NOTHING = 64, 1048576, string.rep("\0", 8)

local form_before, form  -- those of most batches are the same
local function form_of(header)
  if header ~= form_before then
    form_before, form = header, {}
    form.verb, form.inline, form.lives, form.if_live, form.has_expect, form.has_floor, form.is_staged, form.expect,
      form.floor, form.count, form.recorded = struct.unpack(">BBBBBBBI8I8I4c8", header)
  end
  return form
end

local function packed_heads(first, last, stride)  -- or nothing, where the key of a head holds something else
  if first == last then return {redis.call("GET", KEYS[5 + (first - 1) * stride])} end
  local keys, missing = {}, {}
  for nth = first, last do keys[#keys + 1] = KEYS[5 + (nth - 1) * stride] end
  local found = redis.call("MGET", unpack(keys))
  for at, packed in ipairs(found) do
    if not packed then missing[#missing + 1] = keys[at] end
  end
  return (#missing == 0 or redis.call("EXISTS", unpack(missing)) == 0) and found
end

local function checked_head(packed, most_filed)  -- the version, whether it lives, the highest number, the time
  if #packed ~= 65 and #packed < 114 then return nil end
  local version, floor, died, era, newest, filed, live, recorded = struct.unpack(">I8I8I8I8I8I8Bc8", packed)
  if math.max(newest, floor, died, filed) > version or live > 1
    or (form.inline == 1 and newest > 0) ~= (#packed > 65)
    or (#packed > 65 and struct.unpack(">I8", packed, 66) ~= newest)
    or (form.verb == 1 and filed > 0)
    or (most_filed and filed > most_filed) then return nil end
  return version, live, math.max(version, era), newest > 0 and recorded
end

local function checked_heads(moment)  -- heads, how many records come, the highest number, the time
  local verb = (ARGV[3] or ""):byte(1)
  if not verb or verb > 1 then return nil end
  local number, stride, heads, page, positions, highest, at = tonumber(ARGV[1]), 3 + 2 * verb, {}, nil, 0, 0, 2
  for nth = 1, number do
    local form = form_of(ARGV[at + 1])
    if form.verb ~= verb or form.is_staged == 1 or form.count > 1000 or (form.count > 1 and form.inline == 1)
      or (form.count == 0 and form.if_live == 0) or (verb == 1 and form.inline == 0) then return nil end
    if nth % PAGE == 1 then page = packed_heads(nth, math.min(nth + PAGE - 1, number), stride) end
    if not page then return nil end
    local packed, records, version, live = page[(nth - 1) % PAGE + 1], 6 + (nth - 1) * stride, 0, 0
    local most_filed = number > 1 and verb == 0 and (packed or form.inline == 0)
      and math.min(redis.call("HLEN", KEYS[records]), redis.call("ZCARD", KEYS[records + 1]))
    if is_later(form.recorded, moment) then moment = form.recorded end
    if packed then
      local high, recorded
      version, live, high, recorded = checked_head(packed, most_filed)
      if not version then return nil end
      highest = math.max(highest, high)
      if recorded and is_later(recorded, moment) then moment = recorded end
    end
    if form.has_expect == 1 and form.expect ~= version then return nil end
    if form.if_live == 0 or live == 1 then positions = positions + form.count end
    heads[nth], at = packed, at + 2 + form.count
  end
  redis.call("ZCARD", KEYS[3])
  redis.call("ZCARD", KEYS[4])
  return heads, positions, highest, moment
end

local function checked_space(highest)  -- where new streams start, the highest number
  local n, floor = unpack(redis.call("HMGET", KEYS[1], "n", "floor"))
  local last = redis.call("XREVRANGE", KEYS[2], "+", "-", "COUNT", 1)[1]
  n, floor = tonumber(n or ""), tonumber(floor or "")
  if not n or not floor then return nil end
  highest = math.max(highest, floor, last and tonumber(last[1]:match("%d+")) or 0)
  if n >= highest and n <= MOST then return floor, highest end
end

local function given_out(positions, highest, is_known)  -- the position before them, and where new streams start
  local start
  if not is_known then
    start, highest = checked_space(highest)
    if not start then return nil end
  end
  local n = redis.call("HINCRBY", KEYS[1], "n", positions) - positions
  if n >= highest and n + positions <= MOST then return n, start end
  -- there was none: the partition was discarded; or it is damaged
  if n == 0 and is_known then redis.call("HDEL", KEYS[1], "n") else redis.call("HINCRBY", KEYS[1], "n", -positions) end
end

local function change_names(command, key, names, value)  -- in order: that takes a third of the time in a large set
  table.sort(names)
  for first = 1, #names, 1000 do
    local words = {}
    for at = first, math.min(first + 999, #names) do
      if command == "ZADD" then words[#words + 1] = value end
      words[#words + 1] = names[at]
      if command == "HSET" then words[#words + 1] = value end
    end
    redis.call(command, key, unpack(words))
  end
end

local function names_of_each()
  local names, at = {}, 2
  for nth = 1, tonumber(ARGV[1]) do
    names[nth] = ARGV[at]
    local form = form_of(ARGV[at + 1])
    at = at + (form.verb == 2 and 3 or 2) + form.count
  end
  return names
end

local function append_each(answer, moment)  -- adds versions, returns the last position and when all of it is recorded
  local heads, positions, highest, moment = checked_heads(moment)
  if not heads then return nil end
  local number = tonumber(ARGV[1])
  local n, start = given_out(positions, highest, number == 1 and heads[1])
  if not n then return nil end

  local FEED, is_replace, at, key = KEYS[2], ARGV[3]:byte(1) == 1, 2, 5
  local format, pack, born, ended, new, words, bytes = string.format, struct.pack, {}, {}, {}, {}, 0
  for nth = 1, number do
    local name, form, packed = ARGV[at], form_of(ARGV[at + 1]), heads[nth]
    local version, floor, died, era, newest, filed, live, _, levels = 0, 0, 0, n, 0, 0, 0, nil, NOTHING
    if packed then
      version, floor, died, era, newest, filed, live, _, levels = struct.unpack(">I8I8I8I8I8I8Bc8c8", packed)
    elseif form.if_live == 0 then
      version = math.max(start, base_of(n))
      floor, new[#new + 1] = version, name
    end
    if form.count > 0 and (form.if_live == 0 or live == 1) then
      local shown, fields, spans = "", nil, nil
      for part = at + 2, at + 1 + form.count do
        version, n = math.max(version, base_of(n)) + 1, n + 1
        local field, record = format("%d", version), pack(">I8I8", version, n) .. moment .. ARGV[part]
        redis.call("XADD", FEED, format("%d-0", n), "s", name, "v", field)
        levels = with_level(levels, record)
        if form.inline == 1 then
          shown, record, field = record, newest > 0 and packed:sub(66), format("%d", newest)
        end
        if is_replace then
          if record then redis.call("XDEL", FEED, format("%d-0", (struct.unpack(">I8", record, 9)))) end
          floor, era = version, n
        elseif record then
          filed, fields, spans = filed + 1, fields or {}, spans or {}
          fields[#fields + 1], fields[#fields + 2] = field, record
          spans[#spans + 1], spans[#spans + 2] = 0, span_of(record)
        end
        newest = version
      end
      if fields then
        redis.call("HSET", KEYS[key + 1], unpack(fields))
        redis.call("ZADD", KEYS[key + 2], unpack(spans))
      end
      if form.lives == 0 then died = version end
      if form.lives ~= live then
        local changed = form.lives == 1 and born or ended
        changed[#changed + 1] = name
      end
      local head = pack(">I8I8I8I8I8I8B", version, floor, died, era, newest, filed, form.lives) .. moment .. levels .. shown
      words[#words + 1], words[#words + 2], bytes = KEYS[key], head, bytes + #head
      if #words > 1000 or bytes > PAGE_BYTES then
        redis.call("MSET", unpack(words))
        words, bytes = {}, 0
      end
    end
    answer[#answer + 1] = version
    at, key = at + 2 + form.count, key + (is_replace and 5 or 3)
  end
  if #words > 0 then redis.call("MSET", unpack(words)) end
  change_names("ZADD", KEYS[4], new, 0)
  change_names("ZADD", KEYS[3], born, 0)
  change_names("ZREM", KEYS[3], ended)
  return n, moment
end
