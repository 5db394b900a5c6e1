-- Gateway API HTTPRoute: rules with a backendRef to the stable Service.
local spec = obj.data.spec

local matches = obj.matches
if matches and next(matches) == nil then matches = nil end
local weighted = obj.canaryWeight >= 0

-- affinity is a cookie that keeps clients at one version while weights split them: by rules for those that have it, and
-- a header for those that have not. At 0 and 100 there is nothing to keep: everybody is at the same version.
local affinity = obj.sessionAffinity
if obj.canaryWeight <= 0 or obj.canaryWeight >= 100 then affinity = nil end

local function copy(value)
  if type(value) ~= "table" then return value end
  if next(value) == nil then return json.decode(json.encode(value)) end -- still an object, or a list
  local out = {}
  for key, item in pairs(value) do out[key] = copy(item) end
  return out
end

-- shares turns weights into whole numbers in the same proportion that add up to 100.
local function shares(weights)
  local total, left = 0, 100
  for _, weight in ipairs(weights) do total = total + weight end
  local out, rest = {}, {}
  for i, weight in ipairs(weights) do
    local exact = weight * 100 / total
    out[i] = math.floor(exact)
    rest[i] = exact - out[i]
    left = left - out[i]
  end
  for _ = 1, left do
    local most = 1
    for i = 2, #rest do
      if rest[i] > rest[most] then most = i end
    end
    out[most] = out[most] + 1
    rest[most] = -1
  end
  return out
end

-- split adds a canary behind every stable item of a list and gives it its part of the stable one's share. The other
-- items keep theirs. weightOf is an item's weight, canaryOf makes the canary of a stable item, or nil of any other.
local function split(items, weightOf, canaryOf)
  local weights, total, stable = {}, 0, false
  for i, item in ipairs(items) do
    weights[i] = weightOf(item, #items)
    total = total + weights[i]
    stable = stable or canaryOf(item) ~= nil
  end
  if not stable or total <= 0 then return items, stable end
  local out = {}
  for i, share in ipairs(shares(weights)) do
    local item = items[i]
    local canary = canaryOf(item)
    table.insert(out, item)
    item.weight = share
    if canary then
      canary.weight = math.floor(share * obj.canaryWeight / 100 + 0.5)
      item.weight = share - canary.weight
      table.insert(out, canary)
    end
  end
  return out, true
end

local function canaryOf(ref)
  if ref.name ~= obj.stableService or (ref.kind or "Service") ~= "Service" or (ref.group or "") ~= "" then return nil end
  if ref.namespace and ref.namespace ~= obj.namespace then return nil end
  local out = copy(ref)
  out.name = obj.canaryService
  out.weight = nil
  return out
end

local function weightOf(ref) return ref.weight or 1 end

local filterType = "RequestHeaderModifier"

local function headerOf(item) return (type(item) == "table" and item.name or item):lower() end

-- drop takes a header out of changes.
local function drop(changes, header)
  for _, action in ipairs({ "set", "add", "remove" }) do
    local list = changes[action] or {}
    for i = #list, 1, -1 do
      if headerOf(list[i]) == header then table.remove(list, i) end
    end
    if #list == 0 then changes[action] = nil end
  end
end

-- modify adds the header changes of the step to the filters of a rule or a backend, which has at most one such filter.
-- That has one change for each header: what the step sets or removes stands for what the rule said of it.
local function modify(target)
  local change = obj.requestHeaderModifier
  if not change then return end
  target.filters = target.filters or {}
  local filter
  for _, item in ipairs(target.filters) do
    if item.type == filterType then filter = item end
  end
  if not filter then
    filter = { type = filterType, requestHeaderModifier = {} }
    table.insert(target.filters, filter)
  end
  local have = filter.requestHeaderModifier
  for _, action in ipairs({ "set", "add", "remove" }) do
    for _, item in ipairs(change[action] or {}) do
      if action ~= "add" then drop(have, headerOf(item)) end
      have[action] = have[action] or {}
      for _, old in ipairs(have[action]) do
        if headerOf(old) == headerOf(item) then error("a rule adds the header " .. item.name .. " already, and has one change for each", 0) end
      end
      table.insert(have[action], copy(item))
    end
  end
end

-- add adds conditions to those that a rule has already: all must hold. Of two with one name the API takes the first.
local function add(have, list, lower)
  for _, match in ipairs(list) do
    local known = false
    for _, item in ipairs(have) do
      local a, b = item.name, match.name
      if lower then a, b = a:lower(), b:lower() end
      if a == b then
        known = true
        if item.value ~= match.value or (item.type or "Exact") ~= (match.type or "Exact") then
          error("a rule matches " .. match.name .. " already, and a HTTPRoute has one condition for each", 0)
        end
      end
    end
    if not known then table.insert(have, copy(match)) end
  end
  return have
end

-- narrower is the path match that is as both are, or nil if no path is.
local function narrower(have, new)
  if not have then return new end
  local a, b = have.type or "PathPrefix", new.type or "PathPrefix"
  if a == b and have.value == new.value then return new end
  if a == "RegularExpression" or b == "RegularExpression" then
    if have.value == "/" and a == "PathPrefix" then return new end
    error("a rule matches the path already; it cannot be joined with a regular expression", 0)
  end
  local function under(path, prefix)
    if prefix:sub(-1) == "/" then prefix = prefix:sub(1, -2) end
    return path == prefix or path:sub(1, #prefix + 1) == prefix .. "/"
  end
  if a == "Exact" and b == "Exact" then return nil end
  if a == "Exact" then return under(have.value, new.value) and have or nil end
  if under(new.value, have.value) then return new end
  if b == "PathPrefix" and under(have.value, new.value) then return have end
  return nil
end

-- joined are the matches of a rule with one match of the step added to each.
local function joined(rule, match)
  local out = {}
  local list = rule.matches
  if not list or next(list) == nil then list = { {} } end
  for _, item in ipairs(list) do
    local new = copy(item)
    local possible = true
    if match.path then
      new.path = copy(narrower(new.path, match.path))
      possible = new.path ~= nil
    end
    if match.headers and next(match.headers) then new.headers = add(new.headers or {}, match.headers, true) end
    if match.queryParams and next(match.queryParams) then new.queryParams = add(new.queryParams or {}, match.queryParams) end
    if possible then table.insert(out, new) end
  end
  return out
end

-- carrying is the condition that a request has a cookie, among others that it may have.
local function carrying(value)
  return { { type = "RegularExpression", name = "Cookie", value = "^(.*; ?)?" .. affinity.cookieName .. "=" .. value .. "(;.*)?$" } }
end

-- hand gives clients that come by a backend the cookie.
local function hand(ref, value)
  ref.filters = ref.filters or {}
  local filter
  for _, item in ipairs(ref.filters) do
    if item.type == "ResponseHeaderModifier" then filter = item end
  end
  if not filter then
    filter = { type = "ResponseHeaderModifier", responseHeaderModifier = {} }
    table.insert(ref.filters, filter)
  end
  local have = filter.responseHeaderModifier
  have.add = have.add or {}
  for _, item in ipairs(have.add) do
    if item.name:lower() == "set-cookie" then
      error("a backend sets the header Set-Cookie already, and has one change for each header: sessionAffinity cannot set its cookie", 0)
    end
  end
  table.insert(have.add, {
    name = "Set-Cookie",
    value = affinity.cookieName .. "=" .. value .. "; Path=/; Max-Age=" .. affinity.maxAge .. "; HttpOnly; SameSite=Lax",
  })
end

local function leads(rule)
  for _, ref in ipairs(rule.backendRefs or {}) do
    if canaryOf(ref) then return true end
  end
  return false
end

-- matched is the rule for the step's matches, to stand before a rule, or nil.
local function matched(rule)
  local conditions = {}
  for _, match in ipairs(matches or {}) do
    for _, new in ipairs(joined(rule, match)) do
      table.insert(conditions, new)
      if affinity and not (match.headers and next(match.headers)) then
        -- A condition on a header counts more than others: what the step matches must come before the cookie too.
        local also = copy(new)
        also.headers = add(also.headers or {}, { { type = "RegularExpression", name = "Cookie", value = ".*" } }, true)
        table.insert(conditions, also)
      end
    end
  end
  if #conditions == 0 then return nil end
  local new = copy(rule)
  new.name = nil
  new.matches = conditions
  for i, ref in ipairs(rule.backendRefs) do
    local canary = canaryOf(ref)
    if canary then
      canary.weight = ref.weight
      new.backendRefs[i] = canary
    end
  end
  modify(new)
  return new
end

-- kept is the rule for clients that have been at a version.
local function kept(rule, value, canaryToo)
  local new = copy(rule)
  new.name = nil
  new.matches = joined(rule, { headers = carrying(value) })
  for i, ref in ipairs(rule.backendRefs) do
    local canary = canaryOf(ref)
    if canary and canaryToo then
      canary.weight = ref.weight
      if not matches then modify(canary) end
      new.backendRefs[i] = canary
    end
  end
  return new
end

local function size(list)
  local n = 0
  for _ in ipairs(list or {}) do n = n + 1 end
  return n
end

-- overtaken says whether a rule to somewhere else would come after the cookie although it came before the rule.
local function overtaken(rule, other)
  local function list(r)
    if r.matches and next(r.matches) then return r.matches end
    return { {} }
  end
  for _, a in ipairs(list(rule)) do
    for _, b in ipairs(list(other)) do
      local p, q = a.path or {}, b.path or {}
      local same = (p.type or "PathPrefix") == (q.type or "PathPrefix") and (p.value or "/") == (q.value or "/") and a.method == b.method
      if same and size(a.headers) == size(b.headers) and size(b.queryParams) > size(a.queryParams) then return true end
    end
  end
  return false
end

if affinity then
  for _, rule in ipairs(spec.rules or {}) do
    for _, other in ipairs(spec.rules or {}) do
      if leads(rule) and not leads(other) and overtaken(rule, other) then
        error("a rule for the same path chooses by a query parameter, and a cookie would come before it: let it match a header, or remove sessionAffinity", 0)
      end
    end
  end
end

local found, rules, keepers = false, {}, {}
for _, rule in ipairs(spec.rules or {}) do
  if leads(rule) then
    found = true
    local new = matched(rule)
    if new then table.insert(rules, new) end
    if affinity then
      table.insert(keepers, kept(rule, affinity.canary, true))
      table.insert(keepers, kept(rule, affinity.stable, false))
    end
    if weighted then
      rule.backendRefs = split(rule.backendRefs, weightOf, function(ref)
        local canary = canaryOf(ref)
        if canary and not matches then modify(canary) end
        return canary
      end)
    end
    if affinity then
      for _, ref in ipairs(rule.backendRefs) do
        if canaryOf(ref) then hand(ref, affinity.stable) end
        if ref.name == obj.canaryService then hand(ref, affinity.canary) end
      end
    end
  end
  table.insert(rules, rule)
end
if not found then error("no rule of the HTTPRoute leads to the Service " .. obj.stableService, 0) end
-- They come last, so that of rules with as many conditions those that were there before come first.
for _, rule in ipairs(keepers) do table.insert(rules, rule) end
spec.rules = rules
return obj.data
