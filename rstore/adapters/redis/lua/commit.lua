#!lua flags=allow-oom
--- Writes a prepared call, unless that has been done. It was decided, so it may use the last memory.
--- @include "parts/catch_up"

local PROMISE, PROMISED = table.remove(KEYS), table.remove(KEYS)
if redis.call("EXISTS", PROMISE) == 0 then return {"kept"} end
local moment = ARGV[2]
catch_up(ARGV[1])
local ARGV = redis.call("LRANGE", PROMISE, #KEYS + 1, -1)
--- @include "parts/numbers"
--- @include "parts/records"
--- @include "parts/append_each"
--- @include "parts/forget_each"

local answer = {"done", 0}
local function done(n, names)
  answer[2] = n
  change_names("HDEL", PROMISED, names)
  redis.call("UNLINK", PROMISE)
  return answer
end
local n = append_each(answer, moment) or forget_each(answer)
if n then return done(n, names_of_each()) end
local function promised_to() return nil end
--- @include "parts/writer"

local space = load_space()
if not space then return {"kept"} end
local ops, refusal = checked_ops(space)
if not ops then return refusal end
write(ops, space, answer, moment_of(ops, moment))
local names = {}
for at, op in ipairs(ops) do names[at] = op.name end
return done(space.n, names)
