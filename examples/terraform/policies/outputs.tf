output "by_namespace" {
  description = "Policies as JSON by role (worker, replayer) and namespace."
  value       = { for role, policies in local.by_name : role => { for namespace, policy in policies : namespace => jsonencode(policy) } }
}

output "of_installation" {
  description = "Policies as JSON by role (ingest, console, operator)."
  value       = merge({ for role, policy in local.of_installation : role => jsonencode(policy) }, { operator = jsonencode(local.operator) })
}
