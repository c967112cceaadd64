-- Stands in for images/rspamd/config/filter/policy.lua, which asks the gatekeeper for each recipient's policy: the
-- reference has no gatekeeper, and the system's own thresholds count for everybody.
local defaults = rspamd_config:get_all_opt('posthorn')
local results = dofile(rspamd_paths['LOCAL_CONFDIR'] .. '/results.lua')

rspamd_config:register_symbol {
  name = 'REFERENCE_POLICY', type = 'prefilter', priority = 12, flags = 'nostat,empty',
  callback = function(task)
    local off = defaults.greylist <= 0
    task:set_settings {
      actions = { reject = defaults.reject, ['add header'] = defaults.tag, greylist = off and 1e9 or defaults.greylist },
      symbols_disabled = off and { 'GREYLIST_CHECK', 'GREYLIST_SAVE' } or nil,
    }
    task:disable_action('soft reject')
  end,
}
rspamd_config:register_symbol {
  name = 'REFERENCE_RESULTS', type = 'idempotent', flags = 'nostat,empty',
  callback = function(task) results.put(task, defaults.hostname) end,
}
