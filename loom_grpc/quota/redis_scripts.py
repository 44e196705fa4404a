"""What Redis does to the counters, in Lua: each script does all of its work or none, in one round trip and by the clock of Redis."""

from typing import Final

# An owner is one run of one process; what it holds counts for as long as its lease. A window is a hash of amounts by the number of the
# bucket; a gauge has what was `spent`, and what each owner holds.
_COMMON: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function text(number)
  return string.format('%.0f', number)
end

local function lives(owner)
  local ends = redis.call('ZSCORE', KEYS[1], owner)
  return ends and tonumber(ends) > now
end

local function add(key, field, amount)
  local sum = tonumber(redis.call('HGET', key, field) or '0') + amount
  redis.call('HSET', key, field, text(math.max(0, math.min(sum, 9007199254740991))))
end

local function keep(key, ms)
  if redis.call('PTTL', key) < ms then
    redis.call('PEXPIRE', key, text(ms))
  end
end

local function release(key, owner, amount)
  add(key, owner, -amount)
  if redis.call('HGET', key, owner) == '0' then
    redis.call('HDEL', key, owner)
  end
end

local function gauge(key)
  local row, spent, held = redis.call('HGETALL', key), 0, 0
  for at = 1, #row, 2 do
    if row[at] == 'spent' then
      spent = tonumber(row[at + 1])
    elseif lives(row[at]) then
      held = held + tonumber(row[at + 1])
    else
      redis.call('HDEL', key, row[at])
    end
  end
  return spent, held
end
"""

# ARGV: the owner, milliseconds of a bucket, how many buckets; then of each claim whether it is a window, its amount, its limit, and for how
# long it is kept.
TAKE: Final = (
    _COMMON
    + """
if not lives(ARGV[1]) then
  return 0
end
local span, count = tonumber(ARGV[2]), tonumber(ARGV[3])
local bucket = math.floor(now / span)

local function window(key)
  local row, buckets, sum = redis.call('HGETALL', key), {}, 0
  for at = 1, #row, 2 do
    local number, amount = tonumber(row[at]), tonumber(row[at + 1])
    if number < bucket - count then
      redis.call('HDEL', key, row[at])
    else
      if number > bucket then -- the clock was set back, and nobody knows what is over
        redis.call('HDEL', key, row[at])
        add(key, text(bucket), amount)
        number = bucket
      end
      buckets[number] = (buckets[number] or 0) + amount
      sum = sum + amount
    end
  end
  return sum, buckets
end

local function wait(buckets, missing)
  for number = bucket - count, bucket do
    missing = missing - (buckets[number] or 0)
    if missing <= 0 then
      return (number + count + 1) * span - now
    end
  end
  return count * span
end

local refused, taken, answer = false, {}, {1, bucket}
for at = 2, #KEYS do
  local key, first = KEYS[at], at * 4 - 4
  local amount, most = tonumber(ARGV[first + 1]), tonumber(ARGV[first + 2])
  local used, buckets
  if ARGV[first] == '1' then
    used, buckets = window(key)
  else
    local spent, held = gauge(key)
    used = spent + held
  end
  local left, reset = most - used - (taken[key] or 0), (bucket + count + 1) * span - now
  if amount > left then
    refused = true
    if buckets then
      buckets[bucket] = (buckets[bucket] or 0) + (taken[key] or 0)
      reset = wait(buckets, amount - left)
    end
    answer[#answer + 1], answer[#answer + 2] = left, -1 - reset
  else
    taken[key] = (taken[key] or 0) + amount
    answer[#answer + 1], answer[#answer + 2] = left - amount, reset
  end
end
if refused then
  return answer
end
for at = 2, #KEYS do
  local first = at * 4 - 4
  add(KEYS[at], ARGV[first] == '1' and text(bucket) or ARGV[1], tonumber(ARGV[first + 1]))
  keep(KEYS[at], tonumber(ARGV[first + 3]))
end
return answer
"""
)
"""Takes all claims or none."""

# KEYS: the owners, the number of the last batch that was settled, counters. ARGV: the owner, milliseconds of its lease, the batch's number;
# then of each counter its kind, what was taken, what it comes to, its bucket, and how long it is kept. A batch whose answer was lost comes
# again under a new owner: what was spent is not spent twice, but what the new owner holds is given back.
SETTLE: Final = (
    _COMMON
    + """
if not lives(ARGV[1]) then
  return 0
end
redis.call('ZADD', KEYS[1], text(now + tonumber(ARGV[2])), ARGV[1])
local is_new = tonumber(redis.call('GET', KEYS[2]) or '0') < tonumber(ARGV[3])
for at = 3, #KEYS do
  local key, first = KEYS[at], at * 5 - 11
  local kind, held, amount = ARGV[first], tonumber(ARGV[first + 1]), tonumber(ARGV[first + 2])
  if kind == '2' then
    if is_new and redis.call('HEXISTS', key, ARGV[first + 3]) == 1 then
      add(key, ARGV[first + 3], amount - held)
    end
  else
    if is_new and kind == '4' and amount > 0 then
      add(key, 'spent', amount)
    end
    release(key, ARGV[1], held)
    if redis.call('EXISTS', key) == 1 then
      keep(key, tonumber(ARGV[first + 4]))
    end
  end
end
redis.call('SET', KEYS[2], ARGV[3], 'PX', 86400000)
return 1
"""
)
"""Settles a batch and renews the lease."""

# ARGV: the owner, milliseconds of its lease, how many former names it has; these; then what it holds of each counter.
ENROL: Final = (
    _COMMON
    + """
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', text(now))
local names = tonumber(ARGV[3])
for at = 1, names do
  redis.call('ZREM', KEYS[1], ARGV[at + 3])
end
redis.call('ZADD', KEYS[1], text(now + tonumber(ARGV[2])), ARGV[1])
redis.call('PEXPIRE', KEYS[1], 86400000)
for at = 2, #KEYS do
  add(KEYS[at], ARGV[1], tonumber(ARGV[at + names + 2]))
  keep(KEYS[at], 172800000)
end
return 1
"""
)
"""Has an owner hold what it says, in the place of its former names."""

SPENT: Final = (
    _COMMON
    + """
local answer = {}
for at = 2, #KEYS do
  local spent, held = gauge(KEYS[at])
  answer[at - 1] = {spent, held}
end
return answer
"""
)
"""Tells what was spent and what is held of budgets."""

# ARGV: of each budget what was spent at least, and how long it is kept.
RAISE: Final = (
    _COMMON
    + """
for at = 2, #KEYS do
  local spent, least = tonumber(redis.call('HGET', KEYS[at], 'spent') or '0'), ARGV[at * 2 - 3]
  if tonumber(least) > spent then
    redis.call('HSET', KEYS[at], 'spent', least)
    keep(KEYS[at], tonumber(ARGV[at * 2 - 2]))
  end
end
return 1
"""
)
"""Has no budget come to less than it is told."""
