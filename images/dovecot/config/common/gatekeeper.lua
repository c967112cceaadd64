-- Asks the gatekeeper about a log-in and tries the password against the hashes that it gives.
--
--   POST /v1/auth         {login, protocol, ip, password} → {result, username, host, port, sieve_port, epoch, hashes, …}
--   POST /v1/auth/result  {login, protocol, ip, ok, credential, ticket}   how it ended; nobody waits for more than 1 s
--
-- Whatever goes wrong is a temporary failure, never a wrong password: clients forget passwords that are refused.
-- No password and no hash may come into a log line.

local json = require "dkjson"

local GATEKEEPER = "http://127.0.0.1:10041"
-- A hash that is not salted and slow would make the directory worth stealing; an empty one would be no password.
local SLOW = { ARGON2ID = true, ARGON2I = true, ["BLF-CRYPT"] = true, ["SHA256-CRYPT"] = true, ["SHA512-CRYPT"] = true }
-- App passwords that the operator makes are long and random: nobody guesses them, and a program logs in often.
local APP = { SSHA512 = true }
-- What an LDAP server holds is its admin's to choose, as long as it is a hash.
local LDAP = { CRYPT = true, SSHA = true, SSHA256 = true, SSHA512 = true, SHA256 = true, SHA512 = true, PBKDF2 = true }
local PROTOCOLS = { imap = "imap", sieve = "sieve", ["managesieve"] = "sieve" }

local asking, telling

local function client(seconds)
  return dovecot.http.client({
    request_timeout = seconds .. "s",
    -- No request_absolute_timeout: it counts from when the event loop last ran, which may be before a hash was tried.
    connect_timeout = "1s",
    request_max_attempts = "1",
    max_connect_attempts = "1",
    request_max_redirects = "0",
  })
end

function script_init()
  asking, telling = client(4), client(1)
  return 0
end

local function post(http, path, body)
  local request = http:request({ url = GATEKEEPER .. path, method = "POST" })
  request:add_header("Content-Type", "application/json")
  -- A worker that goes from one log-in to the next doesn't notice that the other end has closed an idle connection.
  request:add_header("Connection", "close")
  request:set_payload(json.encode(body))
  local response = request:submit()
  if response:status() ~= 200 then
    return nil, "gatekeeper: " .. path .. ": status " .. response:status() .. " " .. tostring(response:reason())
  end
  local answer = json.decode(response:payload())
  if type(answer) ~= "table" then
    return nil, "gatekeeper: " .. path .. ": no JSON object"
  end
  return answer
end

local function acceptable(candidate)
  local scheme, hash = tostring(candidate.hash):match("^{([A-Z0-9-]+)}(.+)$")
  if not scheme then
    return false
  end
  local id = tostring(candidate.id)
  return SLOW[scheme] and hash:sub(1, 1) == "$"
    or id:sub(1, 4) == "app/" and APP[scheme]
    or id == "ldap" and LDAP[scheme]
end

-- Which of the hashes fits; nil when none does. An error when one could not be tried and none fits.
local function matching(request, password, hashes)
  local failure
  for _, candidate in ipairs(hashes) do
    if not acceptable(candidate) then
      failure = "credential " .. tostring(candidate.id) .. " has no scheme that is allowed"
    else
      local fits, reason = request:password_verify(candidate.hash, password)
      if fits > 0 then
        return candidate.id
      elseif fits < 0 then
        failure = "credential " .. tostring(candidate.id) .. " can't be tried: " .. tostring(reason)
      end
    end
  end
  return nil, failure
end

local function fields(answer, protocol)
  if type(answer.username) ~= "string" or answer.username == "" then
    return nil, "gatekeeper: no username in its answer"
  end
  if protocol == "submission" then
    return { user = answer.username }
  end
  local port = protocol == "sieve" and answer.sieve_port or answer.port
  if type(answer.host) ~= "string" or math.type(port) ~= "integer" then
    return nil, "gatekeeper: no host or port in its answer"
  end
  local given = { user = answer.username, host = answer.host, port = tostring(port) }
  -- Which primary is meant: the store compares it with its own.
  if math.type(answer.epoch) == "integer" then
    given.forward_epoch = tostring(answer.epoch)
  end
  return given
end

local function verify(request, password, login, answer)
  local credential, failure = matching(request, password, type(answer.hashes) == "table" and answer.hashes or {})
  if failure and not credential then
    return dovecot.auth.PASSDB_RESULT_INTERNAL_FAILURE, failure
  end
  login.password = nil
  login.ok, login.credential, login.ticket = credential ~= nil, credential, answer.ticket
  local told, reason = post(telling, "/v1/auth/result", login)
  if not told then
    request:log_warning("can't tell how the log-in ended: " .. reason)
  end
  if not credential then
    return dovecot.auth.PASSDB_RESULT_PASSWORD_MISMATCH, nil
  end
  return dovecot.auth.PASSDB_RESULT_OK
end

local function attempt(request, password)
  local protocol = PROTOCOLS[request:var_expand("%{protocol}")] or "submission"
  local login = {
    login = request:var_expand("%{user}"),
    protocol = protocol,
    ip = request:var_expand("%{remote_ip}"),
    password = password,
  }
  local answer, failure = post(asking, "/v1/auth", login)
  if not answer then
    return dovecot.auth.PASSDB_RESULT_INTERNAL_FAILURE, failure
  end
  local result = answer.result
  if result == "unknown" then
    return dovecot.auth.PASSDB_RESULT_USER_UNKNOWN, nil
  elseif result == "denied" then
    -- Like a wrong password: the state of an account is nobody's business who has not proved to be its owner.
    return dovecot.auth.PASSDB_RESULT_PASSWORD_MISMATCH, nil
  elseif result ~= "ok" and result ~= "verify" then
    return dovecot.auth.PASSDB_RESULT_INTERNAL_FAILURE, "gatekeeper says " .. tostring(result)
  end
  local given
  given, failure = fields(answer, protocol)
  if not given then
    return dovecot.auth.PASSDB_RESULT_INTERNAL_FAILURE, failure
  end
  if result == "verify" then
    local verdict, reason = verify(request, password, login, answer)
    if verdict ~= dovecot.auth.PASSDB_RESULT_OK then
      return verdict, reason
    end
  end
  return dovecot.auth.PASSDB_RESULT_OK, given
end

function auth_password_verify(request, password)
  local ran, verdict, extra = pcall(attempt, request, password)
  if not ran then
    return dovecot.auth.PASSDB_RESULT_INTERNAL_FAILURE, "gatekeeper.lua: " .. tostring(verdict)
  end
  return verdict, extra
end

-- Nobody is found without a password. bin/warm-up asks, to have the first worker there.
function auth_passdb_lookup()
  return dovecot.auth.PASSDB_RESULT_USER_UNKNOWN, nil
end
