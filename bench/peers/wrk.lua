-- One POST again and again, its body from the file named after `--`; the last line of output is what it came to, as JSON.
function init(args)
  local file = assert(io.open(args[1], "rb"))
  wrk.method = "POST"
  wrk.body = file:read("a")
  file:close()
end

function done(summary, latency)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  io.write(string.format('{"measured":%d,"errors":%d,"p50_us":%.1f,"p90_us":%.1f,"p99_us":%.1f}\n',
    summary.requests, failed, latency:percentile(50), latency:percentile(90), latency:percentile(99)))
end
