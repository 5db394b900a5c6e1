-- Ingress of class kong: annotations of the Ingress that is made for the canary beside the stable one. Kong prefers a
-- route with headers to the same route without. It has no weights for Ingresses: use an HTTPRoute for those.
local annotations = obj.annotations or {}
local prefix = "konghq.com/headers."

local function refuse(what) error("an Ingress of class kong cannot " .. what, 0) end

if obj.requestHeaderModifier then refuse("change headers: use a KongPlugin") end
for name in pairs(json.decode(json.encode(annotations))) do
  if name:sub(1, #prefix) == prefix then annotations[name] = nil end
end
local matches = obj.matches or {}
if #matches == 0 and obj.weight ~= "0" and obj.weight ~= "-1" then refuse("split by weight: use an HTTPRoute, or matches") end
if #matches > 0 and obj.weight ~= "-1" then refuse("split by weight: leave traffic out of the step") end
if #matches > 1 then refuse("have two matches") end
if #matches == 0 then
  -- No request has this header: the canary gets nothing yet.
  annotations[prefix .. "x-redstart-canary"] = "none"
  return annotations
end
local match = matches[1]
if match.path then refuse("match a path") end
if match.queryParams and next(match.queryParams) then refuse("match query parameters") end
if not match.headers or next(match.headers) == nil then refuse("have an empty match") end
for _, header in ipairs(match.headers) do
  if header.name == "canary-by-cookie" then refuse("match a cookie") end
  local value = header.value
  if header.type == "RegularExpression" then
    value = "~*" .. value
  elseif value:find(",", 1, true) then
    refuse("match a value with a comma")
  end
  annotations[prefix .. header.name:lower()] = value
end
return annotations
