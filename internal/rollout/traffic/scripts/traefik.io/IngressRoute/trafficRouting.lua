-- Traefik IngressRoute: routes to the stable Service. Rules are written in the syntax of Traefik 3.
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

if obj.requestHeaderModifier then error("an IngressRoute changes no headers by itself: use a Middleware", 0) end

local function canaryOf(service)
  if service.name ~= obj.stableService or (service.kind or "Service") ~= "Service" then return nil end
  if service.namespace and service.namespace ~= obj.namespace then return nil end
  local out = copy(service)
  out.name = obj.canaryService
  out.weight = nil
  return out
end

local function weightOf(service) return service.weight or 1 end

local function quoted(text)
  if text:find("`", 1, true) then error("a match holds a backtick, which a rule of Traefik cannot", 0) end
  return "`" .. text .. "`"
end

local function matcher(names, match, default)
  local name = names[match.type or default]
  if not name then error("the match type " .. match.type .. " is not known", 0) end
  local arguments = quoted(match.value)
  if match.name then arguments = quoted(match.name) .. ", " .. arguments end
  return name .. "(" .. arguments .. ")"
end

-- rule is one match of the step as a rule; everything in it must hold.
local function rule(match)
  local parts = {}
  if match.path then
    table.insert(parts, matcher({ Exact = "Path", PathPrefix = "PathPrefix", RegularExpression = "PathRegexp" }, match.path, "PathPrefix"))
  end
  for _, header in ipairs(match.headers or {}) do
    table.insert(parts, matcher({ Exact = "Header", RegularExpression = "HeaderRegexp" }, header, "Exact"))
  end
  for _, parameter in ipairs(match.queryParams or {}) do
    table.insert(parts, matcher({ Exact = "Query", RegularExpression = "QueryRegexp" }, parameter, "Exact"))
  end
  if #parts == 0 then error("a match is empty", 0) end
  return table.concat(parts, " && ")
end

local function leads(route)
  for _, service in ipairs(route.services or {}) do
    if canaryOf(service) then return true end
  end
  return false
end

-- rank is the priority of a route. Without one it is the length of its rule.
local function rank(route)
  if route.priority and route.priority ~= 0 then return route.priority end
  return #(route.match or "")
end

-- matched is the route for one match. It goes before its route and behind those that went before that: to /api perhaps.
local function matched(route, match)
  if route.syntax == "v2" then error("a route has the syntax v2, and a match is written in v3: leave syntax out", 0) end
  local new = copy(route)
  new.match = rule(match)
  if route.match and route.match ~= "" then new.match = "(" .. route.match .. ") && " .. new.match end
  new.priority = rank(route) + 1
  for _, other in ipairs(spec.routes) do
    if rank(other) == new.priority and not leads(other) then new.match = new.match .. " && !(" .. other.match .. ")" end
  end
  for i, service in ipairs(route.services) do
    local canary = canaryOf(service)
    if canary then
      canary.weight = service.weight
      new.services[i] = canary
    end
  end
  return new
end

local found, routes = false, {}
for _, route in ipairs(spec.routes or {}) do
  if leads(route) then
    found = true
    for _, match in ipairs(matches or {}) do table.insert(routes, matched(route, match)) end
    if weighted then route.services = split(route.services, weightOf, canaryOf) end
  end
  table.insert(routes, route)
end
if not found then error("no route of the IngressRoute leads to the Service " .. obj.stableService, 0) end
spec.routes = routes
return obj.data
