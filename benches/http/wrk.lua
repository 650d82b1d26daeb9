-- What wrk asks, where it is not always the same URL, and its exact totals at the end.
--   BENCH_UNDER   path to put a number behind; absent: the URL of the command line, always the same
--   BENCH_AMONG   numbers drawn at random below this; absent: 0, 1, 2 …
--   BENCH_LEAP    goes through those numbers in leaps instead, each once before any comes again: leap and among have no divisor
--                 in common
--   BENCH_FROM    is added to each number
--   BENCH_UNTIL   ends, and says no totals, once all numbers below this were answered
local under = os.getenv('BENCH_UNDER')
local function number(name)
  return tonumber(os.getenv(name) or '')
end
local among, leap, from, last = number('BENCH_AMONG'), number('BENCH_LEAP'), number('BENCH_FROM') or 0, number('BENCH_UNTIL')
-- More than connections: when so many more were sent, those before them have been answered.
local SURPLUS = 500

if under then
  local n = -1
  function request()
    if leap then
      n = (n + leap) % among
    elseif among then
      n = math.random(among) - 1
    else
      n = n + 1
      if last and n > last + SURPLUS then os.exit(0) end
    end
    return wrk.format(nil, under .. from + (last and n % last or n))
  end
end

function done(summary, latency)
  local e = summary.errors
  print(string.format('TOTALS %d %d %d %d %d %d', summary.requests, summary.bytes, summary.duration, latency:percentile(99),
                      e.status, e.connect + e.read + e.write + e.timeout))
end
