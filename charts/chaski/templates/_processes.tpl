{{/* Arguments and environment of the processes. */}}
{{- define "chaski.operatorArgs" -}}
- --worker-image={{ include "chaski.image" (list . "workers" "worker") }}
- --worker-pull-policy={{ .Values.workers.image.pullPolicy }}
{{- range .Values.workers.imagePullSecrets }}
- --worker-pull-secret={{ .name }}
{{- end }}
{{- with .Values.workers.roleArn }}
- {{ printf "--worker-role-arn=%s" . | quote }}
{{- end }}
{{- range $namespace, $role := .Values.workers.roleArns }}
- {{ printf "--worker-role=%s=%s" $namespace $role | quote }}
{{- end }}
{{- range $name, $value := .Values.workers.env }}{{/* $$: the kubelet expands $(NAME) in arguments */}}
- {{ printf "--worker-env=%s=%s" $name $value | replace "$" "$$" | quote }}
{{- end }}
- {{ printf "--worker-pod=%s" (include "chaski.workerPod" .) | replace "$" "$$" | quote }}
- --worker-run-as-user={{ include "chaski.id" (list $ "runAsUser") | default "none" }}
- --worker-run-as-group={{ include "chaski.id" (list $ "runAsGroup") | default "none" }}
- --worker-fs-group={{ include "chaski.id" (list $ "fsGroup") | default "none" }}
- --worker-ndots={{ .Values.dns.ndots }}
{{- if .Values.workers.networkPolicy }}
- --worker-network-policy
{{- with .Values.networkPolicy.metricsFrom }}
{{- $release := dict "matchLabels" (dict "kubernetes.io/metadata.name" $.Release.Namespace) }}
{{- $operator := dict "matchLabels" (include "chaski.selector" (list $ "operator") | fromYaml) }}
- {{ printf "--worker-metrics-from=%s" (append . (dict "namespaceSelector" $release "podSelector" $operator) | toJson) | quote }}
{{- end }}
{{- end }}
- --tools-image={{ include "chaski.image" (list . "tools" "tools") }}
- --tools-pull-policy={{ .Values.tools.image.pullPolicy }}
{{- with .Values.tools.roleArn }}
- {{ printf "--tools-role-arn=%s" . | quote }}
{{- end }}
{{- range $namespace, $role := .Values.tools.roleArns }}
- {{ printf "--tools-role=%s=%s" $namespace $role | quote }}
{{- end }}
{{- range .Values.watchNamespaces }}
- --namespace={{ . }}
{{- end }}
{{- with .Values.installation }}
- --installation={{ . }}
{{- end }}
{{- with .Values.aws.kmsKeyArn }}
- --kms-key-arn={{ . }}
{{- end }}
{{- range $name, $value := .Values.aws.tags }}
- {{ printf "--aws-tag=%s=%s" $name $value | quote }}
{{- end }}
{{- range .Values.aws.tagLabels }}
- --aws-tag-label={{ . }}
{{- end }}
- --scale-down-window-seconds={{ .Values.operator.scaleDownWindowSeconds }}
- --unreachable-seconds={{ .Values.operator.unreachableSeconds }}
- --idle-seconds={{ .Values.operator.idleSeconds }}
{{- if .Values.ingest.enabled }}
- --ingest={{ .Release.Namespace }}/{{ include "chaski.fullname" . }}-ingest-metrics
{{- end }}
{{- if .Values.operator.removeAdditions }}
- --remove-additions
{{- end }}
{{- if or (not .Values.ingest.enabled) (eq .Values.ingest.auth "none") }}
- --no-producers-required
{{- end }}
{{- if not .Values.operator.policies }}
- --no-policies
{{- end }}
- --lease-name={{ include "chaski.fullname" . }}-operator
- --log-level={{ .Values.operator.logLevel }}
{{- include "chaski.extraArgs" .Values.operator }}
{{- end -}}

{{- define "chaski.ingestArgs" -}}
- --kubernetes
{{- range .Values.watchNamespaces }}
- --namespace={{ . }}
{{- end }}
- --auth={{ .Values.ingest.auth }}
- --peers={{ .Release.Namespace }}/{{ include "chaski.fullname" . }}-ingest
- --activity-reader={{ .Release.Namespace }}/{{ include "chaski.serviceAccountName" (list $ "operator") }}
{{- if .Values.ingest.tls.secretName }}
- --tls-cert=/tls/tls.crt
- --tls-key=/tls/tls.key
{{- end }}
- --log-level={{ .Values.ingest.logLevel }}
{{- include "chaski.extraArgs" .Values.ingest }}
{{- end -}}

{{- define "chaski.consoleArgs" -}}
- console
- --kubernetes
{{- range .Values.watchNamespaces }}
- --namespace={{ . }}
{{- end }}
- --auth={{ .Values.console.auth.mode }}
{{- if eq .Values.console.auth.mode "password" }}
- --password-file=/passwords/users
- --session-seconds={{ .Values.console.auth.sessionSeconds }}
{{- else }}
- --auth-header={{ .Values.console.auth.header }}
{{- end }}
{{- if .Values.console.readOnly }}
- --read-only
{{- end }}
{{- with .Values.console.prometheusUrl }}
- --prometheus={{ . | replace "$" "$$" }}
{{- end }}
- --host=  # every address, IPv4 and IPv6
- --port=8081
- --metrics-port=9090
- --log-format=json
{{- include "chaski.extraArgs" .Values.console }}
{{- end -}}
