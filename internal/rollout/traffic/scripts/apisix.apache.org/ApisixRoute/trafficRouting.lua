-- APISIX ApisixRoute: http rules with a backend that is the stable Service.
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

local function canaryOf(backend)
  if backend.serviceName ~= obj.stableService then return nil end
  local out = copy(backend)
  out.serviceName = obj.canaryService
  out.weight = nil
  return out
end

local function weightOf(backend) return backend.weight or 100 end

local function expression(scope, match)
  local op = ({ Exact = "Equal", RegularExpression = "RegexMatch" })[match.type or "Exact"]
  if not op then error("the match type " .. match.type .. " is not known", 0) end
  return { subject = { scope = scope, name = match.name }, op = op, value = match.value }
end

-- pathExpression matches a path: a prefix is one of whole segments.
local function pathExpression(path)
  local kind, value = path.type or "PathPrefix", path.value
  if kind == "PathPrefix" then
    value = "^" .. value:gsub("/$", ""):gsub("[%^%$%(%)%%%.%[%]%*%+%-%?{}|\\]", "\\%0") .. "(/|$)"
    kind = "RegularExpression"
  end
  return expression("Path", { type = kind, value = value })
end

-- modify adds the header changes of the step to a rule, by the plugin proxy-rewrite.
local function modify(rule)
  local change = obj.requestHeaderModifier
  if not change then return end
  rule.plugins = rule.plugins or {}
  local headers = {}
  for _, action in ipairs({ "set", "add" }) do
    for _, header in ipairs(change[action] or {}) do
      headers[action] = headers[action] or {}
      headers[action][header.name] = header.value
    end
  end
  if change.remove and next(change.remove) then headers.remove = copy(change.remove) end
  for _, plugin in ipairs(rule.plugins) do
    if plugin.name == "proxy-rewrite" then error("the rule " .. rule.name .. " has the plugin proxy-rewrite already", 0) end
  end
  table.insert(rule.plugins, { name = "proxy-rewrite", enable = true, config = { headers = headers } })
end

-- matched is the rule for one match, to stand before a rule, with a higher priority.
local function matched(rule, match, number)
  local new = copy(rule)
  new.name = (rule.name or "rule") .. "-canary-" .. number
  new.priority = (rule.priority or 0) + 1
  new.match = new.match or {}
  local all = new.match.exprs or {}
  new.match.exprs = all
  if match.path then table.insert(all, pathExpression(match.path)) end
  for _, header in ipairs(match.headers or {}) do table.insert(all, expression("Header", header)) end
  for _, parameter in ipairs(match.queryParams or {}) do table.insert(all, expression("Query", parameter)) end
  for i, backend in ipairs(rule.backends) do
    local canary = canaryOf(backend)
    if canary then
      canary.weight = backend.weight
      new.backends[i] = canary
    end
  end
  modify(new)
  return new
end

if obj.requestHeaderModifier and not matches then error("an ApisixRoute cannot change headers of the canary's share alone: use matches", 0) end
local found, rules = false, {}
for _, rule in ipairs(spec.http or {}) do
  local leads = false
  for _, backend in ipairs(rule.backends or {}) do
    if canaryOf(backend) then leads = true end
  end
  if leads then
    found = true
    for number, match in ipairs(matches or {}) do table.insert(rules, matched(rule, match, number)) end
    if weighted then rule.backends = split(rule.backends, weightOf, canaryOf) end
  end
  table.insert(rules, rule)
end
if not found then error("no http rule of the ApisixRoute leads to the Service " .. obj.stableService, 0) end
spec.http = rules
return obj.data
