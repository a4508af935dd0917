#!lua
--- Writes batches, rewrites and copies to one partition, all or nothing. write.py packs them.
--- @include "parts/numbers"
--- @include "parts/append_one"

if ARGV[1] == "1" then
  local version = append_one()
  if version then return version end
end
--- @include "parts/records"
--- @include "parts/append_each"
--- @include "parts/forget_each"

local answer = {"done"}
if append_each(answer, NOTHING) or forget_each(answer) then return #answer == 2 and answer[2] or answer end
local function promised_to() return nil end
--- @include "parts/writer"

local space = load_space()
if not space then return {"gone"} end
local ops, refusal = checked_ops(space)
if not ops then return refusal end
write(ops, space, answer, moment_of(ops, NEVER))
return answer
