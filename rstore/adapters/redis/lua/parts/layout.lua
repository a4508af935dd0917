--- How heads and records are packed: codec.py describes them.
---
--- The stored words differ from those of the Python code: an `era` is a generation, `filed` records are those that are
--- not in the head.

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
local function data_size(record)
  local item, op, meta = struct.unpack(">I2I2I4", record, 42)
  return #record - 49 - item - op - math.max(meta - 1, 0)
end

