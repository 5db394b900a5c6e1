-- Istio VirtualService: http, tcp and tls rules that lead to the stable Service. With the same Service for both
-- versions, the canary is its subset "canary", which a DestinationRule names.
local spec = obj.data.spec

local matches = obj.matches
if matches and next(matches) == nil then matches = nil end
local weighted = obj.canaryWeight >= 0

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

-- canaryHost is the host of the canary in the place of a host of the stable Service, or nil. A host may be NAME,
-- NAME.NAMESPACE or longer; another namespace is another Service.
local function canaryHost(host)
  if type(host) ~= "string" then return nil end
  if host == obj.stableService then return obj.canaryService end
  local prefix = obj.stableService .. "."
  if host:sub(1, #prefix) ~= prefix then return nil end
  local rest = host:sub(#prefix + 1)
  local namespace, domain = rest, "svc"
  local dot = rest:find(".", 1, true)
  if dot then namespace, domain = rest:sub(1, dot - 1), rest:sub(dot + 1) end
  if namespace ~= obj.namespace then return nil end
  if domain ~= "svc" and domain:sub(1, 4) ~= "svc." then return nil end
  return obj.canaryService .. "." .. rest
end

local function canaryOf(route)
  local host = route.destination and canaryHost(route.destination.host)
  if not host then return nil end
  if route.destination.subset == "canary" and obj.stableService == obj.canaryService then return nil end
  local out = copy(route)
  out.weight = nil
  out.destination.host = host
  -- The subsets of the stable Service are none of the canary's: no DestinationRule names them.
  out.destination.subset = obj.stableService == obj.canaryService and "canary" or nil
  return out
end

-- Istio gives a single destination everything, and one of several without a weight nothing.
local function weightOf(route, count)
  if count == 1 then return 100 end
  return route.weight or 0
end

local modes = { Exact = "exact", RegularExpression = "regex", PathPrefix = "prefix", Prefix = "prefix" }

local function condition(match)
  local mode = modes[match.type or "Exact"]
  if not mode then error("the match type " .. match.type .. " is not known", 0) end
  return { [mode] = match.value }
end

local function same(a, b)
  for key, value in pairs(a) do if b[key] ~= value then return false end end
  for key, value in pairs(b) do if a[key] ~= value then return false end end
  return true
end

-- both adds named conditions to those that a rule has already: all must hold.
local function both(have, list, lower)
  for _, match in ipairs(list or {}) do
    local name, new = match.name, condition(match)
    if lower then name = name:lower() end
    local old = have[name]
    -- An empty condition says that there is such a header at all.
    if old and next(old) ~= nil and not same(old, new) then
      error("a rule matches " .. name .. " already, and a VirtualService has one condition for each", 0)
    end
    have[name] = new
  end
  return have
end

-- narrower is the condition that is as both are, or nil if no path is.
local function narrower(have, new)
  if not have or same(have, new) then return new end
  if have.regex or new.regex then error("a rule matches the path already; it cannot be joined with a regular expression", 0) end
  local function under(path, prefix) return path:sub(1, #prefix) == prefix end
  if have.exact and new.exact then return nil end
  if have.exact then return under(have.exact, new.prefix) and have or nil end
  if new.exact then return under(new.exact, have.prefix) and new or nil end
  if under(have.prefix, new.prefix) then return have end
  if under(new.prefix, have.prefix) then return new end
  return nil
end

-- joined are the conditions of a rule with one match of the step added to each.
local function joined(rule, match)
  local out = {}
  local list = rule.match
  if not list or next(list) == nil then list = { {} } end
  for _, item in ipairs(list) do
    local new = copy(item)
    new.name = nil
    local possible = true
    if match.path then
      new.uri = narrower(new.uri, condition({ type = match.path.type or "PathPrefix", value = match.path.value }))
      possible = new.uri ~= nil
    end
    if match.headers and next(match.headers) then new.headers = both(new.headers or {}, match.headers, true) end
    if match.queryParams and next(match.queryParams) then new.queryParams = both(new.queryParams or {}, match.queryParams) end
    if possible then table.insert(out, new) end
  end
  return out
end

-- modify adds the header changes of the step to a rule or a destination.
local function modify(target)
  local change = obj.requestHeaderModifier
  if not change then return end
  target.headers = target.headers or {}
  local request = target.headers.request or {}
  target.headers.request = request
  for _, action in ipairs({ "set", "add" }) do
    for _, header in ipairs(change[action] or {}) do
      request[action] = request[action] or {}
      request[action][header.name] = header.value
    end
  end
  for _, name in ipairs(change.remove or {}) do
    request.remove = request.remove or {}
    table.insert(request.remove, name)
  end
end

local function leads(rule)
  for _, route in ipairs(rule.route or {}) do
    if canaryOf(route) then return true end
  end
  return false
end

-- matched are the rules for the step's matches, to stand before a rule. The last one comes first, as with Kruise.
local function matched(rule)
  local out = {}
  for _, match in ipairs(matches or {}) do
    local conditions = joined(rule, match)
    if #conditions > 0 then
      local new = copy(rule)
      new.name = nil
      new.match = conditions
      for i, route in ipairs(rule.route) do
        local canary = canaryOf(route)
        if canary then
          canary.weight = route.weight
          new.route[i] = canary
        end
      end
      modify(new)
      table.insert(out, 1, new)
    end
  end
  return out
end

local found, http = false, false
for _, protocol in ipairs({ "http", "tcp", "tls" }) do
  local rules = {}
  for _, rule in ipairs(spec[protocol] or {}) do
    if leads(rule) then
      found = true
      if protocol == "http" then
        http = true
        for _, new in ipairs(matched(rule)) do table.insert(rules, new) end
      end
      if weighted then
        rule.route = split(rule.route, weightOf, function(route)
          local canary = canaryOf(route)
          if canary and protocol == "http" and not matches then modify(canary) end
          return canary
        end)
      end
    end
    table.insert(rules, rule)
  end
  if spec[protocol] then spec[protocol] = rules end
end
if not found then error("no route of the VirtualService leads to the Service " .. obj.stableService, 0) end
if not http and (matches or obj.requestHeaderModifier) then
  error("only tcp and tls routes lead to the Service " .. obj.stableService .. ": they match and change no headers", 0)
end
return obj.data
