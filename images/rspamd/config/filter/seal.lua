--[[ ARC (RFC 8617) for what is forwarded: our Authentication-Results, and the message as it came, sealed with the key of
the recipient's domain. The keys are those of the signer beside egress, in the same Redis (see README.md).

Which headers the ARC-Message-Signature covers is chosen so that nothing that happens later breaks it: the forward role
adds Received, Delivered-To and Return-Path, egress may add a DKIM-Signature on top, the filter adds and removes X-Spam*,
X-Posthorn-* and Authentication-Results. ]]

local cryptobox_hash = require 'rspamd_cryptobox_hash'
local lua_mime = require 'lua_mime'
local lua_redis = require 'lua_redis'
local lua_util = require 'lua_util'
local rsa = require 'rspamd_rsa'
local rsa_privkey = require 'rspamd_rsa_privkey'
local util = require 'rspamd_util'

local M = {}

local LOADED, SELECTORS, KEYS = 'posthorn:dkim:loaded', 'DKIM_SELECTORS', 'DKIM_KEYS'
local AAR, AMS, AS = 'ARC-Authentication-Results', 'ARC-Message-Signature', 'ARC-Seal'
local MAX_SETS = 50

-- (o): signed once more than it is there, so that none can be added; (x): the same if it is there. DKIM-Signature has
-- neither: signatures are counted from the bottom, so that another one on top is no change.
local SIGNED_HEADERS = '(o)from:(x)sender:(x)reply-to:(x)subject:(x)date:(x)message-id:(x)to:(x)cc:(x)mime-version:'
  .. '(x)content-type:(x)content-transfer-encoding:(x)in-reply-to:(x)references:list-id:list-help:list-owner:'
  .. 'list-unsubscribe:list-unsubscribe-post:list-subscribe:list-post:dkim-signature'

local redis = lua_redis.parse_redis_server('redis')

--- Asks Redis one thing: callback(answer or nil), or failed(why).
local function ask(task, command, args, failed, callback)
  local sent = lua_redis.redis_make_request(task, redis, nil, false, function(err, data)
    if err then
      return failed('Redis: ' .. tostring(err))
    end
    callback(type(data) == 'string' and data ~= '' and data or nil)
  end, command, args)
  if not sent then
    failed('Redis: no request could be sent')
  end
end

local RSA_ENCRYPTION = '\42\134\72\134\247\13\1\1\1'

--- The key, when it is an RSA one: ARC knows no other.
local function rsa_key(pem)
  local body = pem:match('^%s*%-%-%-%-%-BEGIN PRIVATE KEY%-%-%-%-%-(.-)%-%-%-%-%-END')
  local der = body and util.decode_base64((body:gsub('%s', '')))
  if not der or not tostring(der):sub(1, 40):find(RSA_ENCRYPTION, 1, true) then
    return nil
  end
  return rsa_privkey.load_pem(pem)
end

--- Calls found(domain, selector, pem) for the first domain with an RSA key, none(why), or failed(why) when that can't be
--- said now.
local function find_key(task, domains, failed, none, found)
  local function try(index, why)
    local domain = domains[index]
    if not domain then
      return none(why)
    end
    ask(task, 'HGET', { SELECTORS, domain }, failed, function(selector)
      if not selector then
        return try(index + 1, 'no selector of ' .. domain)
      end
      ask(task, 'HGET', { KEYS, selector .. '.' .. domain }, failed, function(pem)
        if not pem or not rsa_key(pem) then
          return try(index + 1, 'no RSA key ' .. selector .. '.' .. domain)
        end
        found(domain, selector, pem)
      end)
    end)
  end
  ask(task, 'GET', { LOADED }, failed, function(loaded)
    if loaded ~= '1' then
      return failed('the cache of signing keys is not filled')
    end
    try(1, 'no domain')
  end)
end

-- the chain that came with the message ------------------------------------------------------------------------------

local function count(task, name)
  return #(task:get_header_full(name) or {})
end

--- The sets of the chain and how it was validated ('none', 'pass', 'fail'); or nil and why nothing may be added to it.
local function chain_of(task)
  local sets = count(task, AS)
  if count(task, AMS) ~= sets or count(task, AAR) ~= sets then
    return nil, 'the chain is not complete'
  end
  if sets == 0 then
    return {}, 'none'
  end
  if sets >= MAX_SETS then
    return nil, 'the chain is too long'
  end
  local seals, signatures, results = task:cache_get('arc-seals'), task:cache_get('arc-sigs'), task:cache_get('arc-authres')
  if not seals or not signatures or not results then
    return nil, 'the chain is malformed'
  end
  local chain = {}
  for i = 1, sets do
    if not (seals[i] and signatures[i] and results[i] and tonumber(results[i].i) == i) then
      return nil, 'the chain is malformed'
    end
    chain[i] = { results[i].raw_header, signatures[i].raw_header, seals[i].raw_header }
  end
  if seals[sets].cv == 'fail' then
    return nil, 'the chain has failed before'
  end
  return chain, task:cache_get('arc-allow') and 'pass' or 'fail'
end

--- Adds the set `#chain + 1`. RFC 8617, 5.1.1 and 5.1.2: the seal covers the sets before it unless the chain has failed.
local function add_set(task, domain, selector, pem, chain, cv, results)
  local instance = #chain + 1
  local ok, signature = rspamd_plugins.dkim.sign(task, {
    domain = domain,
    selector = selector,
    rawkey = pem,
    headers = SIGNED_HEADERS,
    sign_type = 'arc-sign',
    arc_idx = instance,
    no_cache = true,
  })
  if not ok or not signature then
    return false
  end
  results = lua_util.fold_header(task, AAR, ('i=%d; %s'):format(instance, results), ';')
  signature = lua_util.fold_header(task, AMS, signature)
  local seal = ('i=%d; a=rsa-sha256; t=%d; cv=%s; d=%s; s=%s; b='):format(
    instance, math.floor(util.get_time()), cv, domain, selector)

  local digest = cryptobox_hash.create_specific('sha256')
  local canonical = rspamd_plugins.dkim.canon_header_relaxed
  for _, set in ipairs(cv == 'pass' and chain or {}) do
    digest:update(canonical(AAR, set[1]))
    digest:update(canonical(AMS, set[2]))
    digest:update(canonical(AS, set[3]))
  end
  digest:update(canonical(AAR, results))
  digest:update(canonical(AMS, signature))
  digest:update('arc-seal:' .. seal)
  local made = rsa.sign_memory(rsa_key(pem), digest:bin())
  -- a milter's header lines end in LF
  seal = lua_util.fold_header(task, AS, seal .. made:base64(70, 'lf'))

  lua_mime.modify_headers(task, {
    add = {
      [AAR] = { order = 1, value = results },
      [AMS] = { order = 1, value = signature },
      [AS] = { order = 1, value = seal },
    },
    order = { AAR, AMS, AS },
  })
  task:insert_result('POSTHORN_SEALED', 0.0, ('%s:s=%s:i=%d:cv=%s'):format(domain, selector, instance, cv))
  return true
end

--- Calls found(domain) with the first of `domains` that is one of ours (has a signing key), none() when there is none, or
--- failed(why) when that can't be said now.
function M.hosted(task, domains, found, none, failed)
  ask(task, 'GET', { LOADED }, failed, function(loaded)
    if loaded ~= '1' then
      return failed('the cache of signing keys is not filled')
    end
    local function try(index)
      if not domains[index] then
        return none()
      end
      ask(task, 'HGET', { SELECTORS, domains[index] }, failed, function(selector)
        if selector then
          return found(domains[index])
        end
        try(index + 1)
      end)
    end
    try(1)
  end)
end

--- Seals the message, and what `results` says of it, for the first of `domains` that has an RSA key: done(), unsealed(why)
--- when it goes without, or failed(why) when the keys can't be looked up, or a key does not work.
function M.seal(task, domains, results, done, unsealed, failed)
  local chain, cv = chain_of(task)
  if not chain then
    return unsealed(cv)
  end
  find_key(task, domains, failed, unsealed, function(domain, selector, pem)
    if not add_set(task, domain, selector, pem, chain, cv, results) then
      return failed('key ' .. selector .. '.' .. domain .. ' does not work')
    end
    done()
  end)
end

return M
