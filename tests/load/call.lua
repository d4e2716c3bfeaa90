-- The tools/call that `strait load --tool echo` sends to a peer of 2026-07-28, for wrk.
local body = '{"jsonrpc":"2.0","id":1000000000000,"method":"tools/call","params":{"name":"echo","arguments":{"text":"call 1000000000000"},'
  .. '"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},'
  .. '"io.modelcontextprotocol/clientInfo":{"name":"strait-load","version":"0.1.0"}}}}'

wrk.method = "POST"
wrk.body = body
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Accept"] = "application/json, text/event-stream"
wrk.headers["MCP-Protocol-Version"] = "2026-07-28"
wrk.headers["Mcp-Method"] = "tools/call"
wrk.headers["Mcp-Name"] = "echo"
