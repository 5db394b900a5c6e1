-- Ingress of class aliyun-alb: annotations of the Ingress that is made for the canary beside the stable one. A header
-- named canary-by-cookie stands for the cookie of its value.
local annotations = obj.annotations or {}
local prefix = "alb.ingress.kubernetes.io/canary"

for _, name in ipairs({ "-by-cookie", "-by-header", "-by-header-pattern", "-by-header-value", "-weight", "-weight-total" }) do
  annotations[prefix .. name] = nil
end
annotations[prefix] = "true"
if obj.weight ~= "-1" then annotations[prefix .. "-weight"] = obj.weight end

local function refuse(what) error("an Ingress of class aliyun-alb cannot " .. what, 0) end
if obj.requestHeaderModifier then refuse("change headers") end

-- Each annotation is there once, and any of them sends a request to the canary: a match is one condition.
local header, cookie
for _, match in ipairs(obj.matches or {}) do
  local headers, parameters = match.headers or {}, match.queryParams or {}
  if match.path then refuse("match a path") end
  if #headers + #parameters > 1 then refuse("match two conditions at once") end
  if #parameters > 0 then refuse("match query parameters") end
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
if (header or cookie) and obj.weight ~= "-1" then refuse("have matches and a weight: leave traffic out of the step") end
if cookie then annotations[prefix .. "-by-cookie"] = cookie.value end
if header then
  annotations[prefix .. "-by-header"] = header.name
  if header.type == "RegularExpression" then refuse("match a header by a regular expression") end
  annotations[prefix .. "-by-header-value"] = header.value
end
return annotations
