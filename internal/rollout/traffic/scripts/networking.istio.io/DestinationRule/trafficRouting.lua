-- Istio DestinationRule: the subset "canary", for a VirtualService that sends the canary's share to a subset of the
-- same Service. Its pods have the label istio.service.tag=gray, by patchPodTemplateMetadata of the Rollout. A subset
-- "canary" that is there already is kept as it is.
local spec = obj.data.spec
local host, service = spec.host or "", obj.stableService
local inNamespace = service .. "." .. obj.namespace
if host ~= service and host ~= inNamespace and host:sub(1, #inNamespace + 4) ~= inNamespace .. ".svc" then
  error("the DestinationRule is for the host " .. host .. ", not for the Service " .. service, 0)
end
spec.subsets = spec.subsets or {}
for _, subset in ipairs(spec.subsets) do
  if subset.name == "canary" then return obj.data end
end
table.insert(spec.subsets, { name = "canary", labels = { ["istio.service.tag"] = "gray" } })
return obj.data
