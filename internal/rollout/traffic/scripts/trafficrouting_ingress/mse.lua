-- Ingress of class mse: annotations of the Ingress that is made for the canary beside the stable one. A header
-- named canary-by-cookie stands for the cookie of its value.
local annotations = obj.annotations or {}
local prefix = "nginx.ingress.kubernetes.io/canary"

for _, name in ipairs({ "-by-cookie", "-by-header", "-by-header-pattern", "-by-header-value", "-weight", "-weight-total" }) do
  annotations[prefix .. name] = nil
end
local queryPrefix = "mse.ingress.kubernetes.io/canary"
for _, name in ipairs({ "-by-query", "-by-query-value", "-by-query-pattern" }) do annotations[queryPrefix .. name] = nil end
annotations[prefix] = "true"
if obj.weight ~= "-1" then annotations[prefix .. "-weight"] = obj.weight end

local function refuse(what) error("an Ingress of class mse cannot " .. what, 0) end

local control = "mse.ingress.kubernetes.io/request-header-control-"
local change = obj.requestHeaderModifier
if change then
  -- One header a line.
  for action, verb in pairs({ set = "update", add = "add" }) do
    local lines = {}
    for _, item in ipairs(change[action] or {}) do table.insert(lines, item.name .. " " .. item.value) end
    if #lines > 0 then annotations[control .. verb] = table.concat(lines, "\n") end
  end
  if change.remove and next(change.remove) then annotations[control .. "remove"] = table.concat(change.remove, ",") end
end
if annotations["mse.ingress.kubernetes.io/service-subset"] then annotations["mse.ingress.kubernetes.io/service-subset"] = "gray" end

-- Each annotation is there once, and any of them sends a request to the canary: a match is one condition.
local header, cookie, query
for _, match in ipairs(obj.matches or {}) do
  local headers, parameters = match.headers or {}, match.queryParams or {}
  if match.path then refuse("match a path") end
  if #headers + #parameters > 1 then refuse("match two conditions at once") end
  for _, item in ipairs(parameters) do
    if query then refuse("match two query parameters") end
    query = item
  end
  for _, item in ipairs(headers) do
    if item.name == "canary-by-cookie" then
      if cookie then refuse("match two cookies") end
      cookie = item
    else
      if header then refuse("match two headers") end
      header = item
    end
  end
end
if cookie then annotations[prefix .. "-by-cookie"] = cookie.value end
if header then
  annotations[prefix .. "-by-header"] = header.name
  annotations[prefix .. (header.type == "RegularExpression" and "-by-header-pattern" or "-by-header-value")] = header.value
end
if query then
  annotations[queryPrefix .. "-by-query"] = query.name
  annotations[queryPrefix .. (query.type == "RegularExpression" and "-by-query-pattern" or "-by-query-value")] = query.value
end
return annotations
