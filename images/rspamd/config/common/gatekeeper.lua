-- Questions to the gatekeeper, which runs beside us: JSON over HTTP on loopback.

local http = require 'rspamd_http'
local ucl = require 'ucl'

local URL = 'http://127.0.0.1:10041'
local SECONDS = 8.0
local MAX_ANSWER = 4 * 1024 * 1024

local M = {}

local function decode(body)
  local parser = ucl.parser()
  local ok, why = parser:parse_string(tostring(body or ''))
  if not ok then
    return nil, 'answer is not JSON: ' .. tostring(why)
  end
  local answer = parser:get_object()
  if type(answer) ~= 'table' then
    return nil, 'answer is not an object'
  end
  return answer
end

--- Posts `question` to `path` and calls back, exactly once, with the answer as a table, or with nil and what is wrong.
function M.ask(task, path, question, callback)
  local sent = http.request {
    task = task,
    url = URL .. path,
    method = 'post',
    mime_type = 'application/json',
    body = ucl.to_format(question, 'json-compact'),
    timeout = SECONDS,
    max_size = MAX_ANSWER,
    callback = function(err, code, body)
      if err then
        return callback(nil, tostring(err))
      end
      if code ~= 200 then
        return callback(nil, 'status ' .. tostring(code))
      end
      callback(decode(body))
    end,
  }
  if not sent then
    callback(nil, 'the request could not be sent')
  end
end

--- Runs `step`; when it breaks, the message is put off by `put_off(task, why)` instead of going on unjudged.
function M.guard(task, put_off, step)
  local ok, err = pcall(step)
  if not ok then
    put_off(task, 'broken rule: ' .. tostring(err))
  end
end

return M
