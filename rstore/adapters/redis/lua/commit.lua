#!lua flags=allow-oom
--- Writes a prepared call, unless that has been done. It was decided, so it may use the last memory.
--- @include "parts/catch_up"

local PROMISE, PROMISED = table.remove(KEYS), table.remove(KEYS)
if redis.call("EXISTS", PROMISE) == 0 then return {"kept"} end
local moment = ARGV[2]
catch_up(ARGV[1])
local ARGV = redis.call("LRANGE", PROMISE, #KEYS + 1, -1)
local function promised_to() return nil end
--- @include "parts/numbers"
--- @include "parts/writer"

local space = load_space()
if not space then return {"kept"} end
local ops, refusal = checked_ops(space)
if not ops then return refusal end
local answer = {"done", 0}
write(ops, space, answer, moment_of(ops, moment))
answer[2] = space.n
for _, op in ipairs(ops) do redis.call("HDEL", PROMISED, op.name) end
redis.call("UNLINK", PROMISE)
return answer
