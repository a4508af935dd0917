--- Anything else that a user wrote under our keys is an error with the code DAMAGED, which errors.py translates. It is
--- raised before anything is written. Unchecked, a loop from one version to another could hold the server up for ever.
---
--- MOST is the greatest version or position: Lua's numbers are doubles, and have 53 bits. UNIT is how many positions a
--- fencing epoch has. Both are constants of codec.py.

local MOST, UNIT = 9007199254740991, 1048576
local function damaged() error({err = "DAMAGED by somebody else"}) end
local function base_of(n) return n - n % UNIT end
