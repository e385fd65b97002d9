{{/* What the operator may do in the namespaces that it serves. No verb on secrets: workers mount them by name. */}}
{{- define "chaski.rules.operator" -}}
- apiGroups: [chaski.dev]
  resources: [chaskiroutes]
  verbs: [get, list, watch, patch]
- apiGroups: [chaski.dev]
  resources: [chaskiroutes/status]
  verbs: [get, patch]
- apiGroups: [chaski.dev]
  resources: [chaskiroutes/finalizers]  # asked for by OwnerReferencesPermissionEnforcement
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
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [apps]
  resources: [deployments/scale]
  verbs: [get, patch, update]
- apiGroups: [""]
  resources: [configmaps, serviceaccounts]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [pods]  # why workers do not start; what they hold; which of them costs least to end
  verbs: [get, list, watch, patch]
- apiGroups: ["", events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}

{{/* What the console may do there: the same. */}}
{{- define "chaski.rules.console" -}}
{{ include "chaski.rules.ingest" . }}
{{- end -}}

{{/* What ingest may do there: it reads routes, and nothing else. */}}
{{- define "chaski.rules.ingest" -}}
- apiGroups: [chaski.dev]
  resources: [chaskiroutes]
  verbs: [get, list, watch]
{{- end -}}
