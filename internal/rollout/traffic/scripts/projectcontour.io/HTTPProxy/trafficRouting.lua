-- Contour HTTPProxy: routes, and the tcpproxy, with a service that is the stable Service.
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

local function canaryOf(service)
  if service.name ~= obj.stableService or service.mirror then return nil end
  local out = copy(service)
  out.name = obj.canaryService
  out.weight = nil
  return out
end

-- splitServices splits the services that are no mirrors. If none has a weight, all have the same; else one without has none.
local function splitServices(services, each)
  local plain, mirrors, some = {}, {}, false
  for _, service in ipairs(services) do
    table.insert(service.mirror and mirrors or plain, service)
    some = some or (not service.mirror and service.weight ~= nil and service.weight > 0)
  end
  local out = split(plain, function(service) return some and (service.weight or 0) or 1 end, each)
  for _, mirror in ipairs(mirrors) do table.insert(out, mirror) end
  return out
end

-- modify adds the header changes of the step to a route or a service. That has one change for each header: what the
-- step says stands for what the route said of it.
local function modify(target)
  local change = obj.requestHeaderModifier
  if not change then return end
  if change.add and next(change.add) then error("an HTTPProxy sets and removes headers, it cannot add to them", 0) end
  target.requestHeadersPolicy = target.requestHeadersPolicy or {}
  local policy = target.requestHeadersPolicy
  local function headerOf(item) return (type(item) == "table" and item.name or item):lower() end
  local function drop(header)
    for _, action in ipairs({ "set", "remove" }) do
      local list = policy[action] or {}
      for i = #list, 1, -1 do
        if headerOf(list[i]) == header then table.remove(list, i) end
      end
      if #list == 0 then policy[action] = nil end
    end
  end
  for _, action in ipairs({ "set", "remove" }) do
    for _, item in ipairs(change[action] or {}) do
      drop(headerOf(item))
      policy[action] = policy[action] or {}
      table.insert(policy[action], copy(item))
    end
  end
end

local function condition(kind, match)
  local mode = ({ Exact = "exact", RegularExpression = "regex" })[match.type or "Exact"]
  if not mode then error("the match type " .. match.type .. " is not known", 0) end
  return { [kind] = { name = match.name, [mode] = match.value } }
end

-- with adds a condition on a header or a query parameter. Contour takes one exact value for each.
local function with(conditions, kind, match)
  local new = condition(kind, match)
  for _, have in ipairs(conditions) do
    local old = have[kind]
    local same = old and (old.name == match.name or kind == "header" and old.name:lower() == match.name:lower())
    if same and old.exact and new[kind].exact then
      if old.exact == new[kind].exact then return end
      error("a route matches " .. match.name .. " already, and an HTTPProxy has one exact condition for each", 0)
    end
  end
  table.insert(conditions, new)
end

-- withPath adds a path to conditions, which may have one already. It is false if no path is as both are.
local function withPath(conditions, path)
  local key = ({ Exact = "exact", PathPrefix = "prefix", RegularExpression = "regex" })[path.type or "PathPrefix"]
  -- A prefix is one of whole segments.
  local function under(path, prefix)
    if prefix:sub(-1) == "/" then prefix = prefix:sub(1, -2) end
    return path == prefix or path:sub(1, #prefix + 1) == prefix .. "/"
  end
  for i, have in ipairs(conditions) do
    if have.regex or ((have.prefix or have.exact) and key == "regex" and have.prefix ~= "/") then
      error("a route matches the path already; it cannot be joined with a regular expression", 0)
    end
    if have.prefix and under(path.value, have.prefix) or have.exact and have.exact == path.value then
      conditions[i] = { [key] = path.value }
      return true
    end
    local value = have.prefix or have.exact
    if value then return key == "prefix" and under(value, path.value) end
  end
  table.insert(conditions, { [key] = path.value })
  return true
end

-- matched is the route for one match, to stand before a route, or nil.
local function matched(route, match)
  local new = copy(route)
  new.conditions = new.conditions or {}
  if match.path and not withPath(new.conditions, match.path) then return nil end
  for _, header in ipairs(match.headers or {}) do with(new.conditions, "header", header) end
  for _, parameter in ipairs(match.queryParams or {}) do with(new.conditions, "queryParameter", parameter) end
  for i, service in ipairs(route.services) do
    local canary = canaryOf(service)
    if canary then
      canary.weight = service.weight
      new.services[i] = canary
    end
  end
  modify(new)
  return new
end

local function leads(services)
  for _, service in ipairs(services or {}) do
    if canaryOf(service) then return true end
  end
  return false
end

local found, routes = false, {}
for _, route in ipairs(spec.routes or {}) do
  if leads(route.services) then
    found = true
    for _, match in ipairs(matches or {}) do
      local new = matched(route, match)
      if new then table.insert(routes, new) end
    end
    if weighted then
      route.services = splitServices(route.services, function(service)
        local canary = canaryOf(service)
        if canary and not matches then modify(canary) end
        return canary
      end)
    end
  end
  table.insert(routes, route)
end
if spec.routes then spec.routes = routes end
if spec.tcpproxy and leads(spec.tcpproxy.services) then
  if not found and (matches or obj.requestHeaderModifier) then
    error("the tcpproxy alone leads to the Service " .. obj.stableService .. ": it matches and changes no headers", 0)
  end
  found = true
  if weighted then spec.tcpproxy.services = splitServices(spec.tcpproxy.services, canaryOf) end
end
if not found then error("no route of the HTTPProxy leads to the Service " .. obj.stableService, 0) end
return obj.data
