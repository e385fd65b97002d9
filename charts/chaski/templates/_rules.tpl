{{/* Rules of the operator in the namespaces that it serves. No verb on secrets: workers mount them by name. */}}
{{- define "chaski.rules.operator" -}}
- apiGroups: [chaski.dev]
  resources: [chaskiroutes]
  verbs: [get, list, watch, patch]
- apiGroups: [chaski.dev]
  resources: [chaskiroutes/status]
  verbs: [get, patch]
- apiGroups: [chaski.dev]
  resources: [chaskiroutes/finalizers]  # required by OwnerReferencesPermissionEnforcement
  verbs: [update]
- apiGroups: [chaski.dev]
  resources: [chaskireplays]
  verbs: [get, list, watch, delete]  # delete: ttlSecondsAfterFinished
- apiGroups: [chaski.dev]
  resources: [chaskireplays/status]
  verbs: [get, patch]
- apiGroups: [chaski.dev]
  resources: [chaskireplays/finalizers]
  verbs: [update]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, create, patch]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, update, patch, delete]  # update: removes what others have added
- apiGroups: [apps]
  resources: [deployments/scale]
  verbs: [get, patch, update]
- apiGroups: [apps]
  resources: [replicasets]  # whether a Pod belongs to a worker Deployment
  verbs: [get]
- apiGroups: [""]
  resources: [configmaps, serviceaccounts]
  verbs: [get, list, watch, create, update, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, update, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, update, patch, delete]
- apiGroups: [""]
  resources: [pods]  # why workers do not start; their load
  verbs: [get, list, watch]
- apiGroups: ["", events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}

{{/* Rules of the operator in all namespaces, also where it has Roles: a namespace's deletion deletes the Role before the operator
has deleted queues and tables and removed its finalizer. list: it may be restarted meanwhile. */}}
{{- define "chaski.rules.finalizer" -}}
- apiGroups: [chaski.dev]
  resources: [chaskiroutes]
  verbs: [get, list, patch]
{{- end -}}

{{/* Rules of the console in those namespaces: those of ingest. */}}
{{- define "chaski.rules.console" -}}
{{ include "chaski.rules.ingest" . }}
{{- end -}}

{{/* Rules of ingest in those namespaces: read access to routes only. */}}
{{- define "chaski.rules.ingest" -}}
- apiGroups: [chaski.dev]
  resources: [chaskiroutes]
  verbs: [get, list, watch]
{{- end -}}
