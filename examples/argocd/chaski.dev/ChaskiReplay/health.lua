-- Health of a ChaskiReplay in Argo CD; docs/operator.md describes how to install it. Written for Lua 5.1, as Argo CD has it.
local health = {status = "Progressing", message = "Waiting for the operator"}
if obj.status == nil or obj.status.phase == nil then
  return health
end
local statuses = {Complete = "Healthy", Failed = "Degraded", Suspended = "Suspended"}
health.status = statuses[obj.status.phase] or "Progressing"
health.message = obj.status.message or ""
return health
