-- Traefik TraefikService: the weighted services. It splits by weight alone; matches belong to an IngressRoute.
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

if matches then error("a TraefikService has no matches: name the IngressRoute in customNetworkRefs instead", 0) end
if obj.requestHeaderModifier then error("a TraefikService changes no headers: use a Middleware", 0) end

local function canaryOf(service)
  if service.name ~= obj.stableService or (service.kind or "Service") ~= "Service" then return nil end
  if service.namespace and service.namespace ~= obj.namespace then return nil end
  local out = copy(service)
  out.name = obj.canaryService
  return out
end

local function weightOf(service) return service.weight or 1 end

local found = false
for _, service in ipairs(spec.weighted and spec.weighted.services or {}) do
  if canaryOf(service) then found = true end
end
if not found then error("no weighted service of the TraefikService is the Service " .. obj.stableService, 0) end
if weighted then spec.weighted.services = split(spec.weighted.services, weightOf, canaryOf) end
return obj.data
