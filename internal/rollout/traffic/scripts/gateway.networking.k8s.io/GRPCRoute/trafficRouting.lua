-- Gateway API GRPCRoute: rules with a backendRef to the stable Service.
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
          error("a rule matches " .. match.name .. " already, and a GRPCRoute has one condition for each", 0)
        end
      end
    end
    if not known then table.insert(have, copy(match)) end
  end
  return have
end

-- joined are the matches of a rule with one match of the step added to each.
local function joined(rule, match)
  if match.path or (match.queryParams and next(match.queryParams)) then
    error("a GRPCRoute matches headers alone, not paths and query parameters", 0)
  end
  local out = {}
  local list = rule.matches
  if not list or next(list) == nil then list = { {} } end
  for _, item in ipairs(list) do
    local new = copy(item)
    new.headers = add(new.headers or {}, match.headers or {}, true)
    table.insert(out, new)
  end
  return out
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
    for _, new in ipairs(joined(rule, match)) do table.insert(conditions, new) end
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

local found, rules = false, {}
for _, rule in ipairs(spec.rules or {}) do
  if leads(rule) then
    found = true
    local new = matched(rule)
    if new then table.insert(rules, new) end
    if weighted then
      rule.backendRefs = split(rule.backendRefs, weightOf, function(ref)
        local canary = canaryOf(ref)
        if canary and not matches then modify(canary) end
        return canary
      end)
    end
  end
  table.insert(rules, rule)
end
if not found then error("no rule of the GRPCRoute leads to the Service " .. obj.stableService, 0) end
spec.rules = rules
return obj.data
