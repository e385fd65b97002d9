{{/* Arguments and environment of the processes. */}}
{{- define "chaski.operatorArgs" -}}
- --worker-image={{ include "chaski.image" (list . "workers" "worker") }}
- --worker-pull-policy={{ .Values.workers.image.pullPolicy }}
{{- range .Values.workers.imagePullSecrets }}
- --worker-pull-secret={{ .name }}
{{- end }}
{{- with .Values.workers.roleArn }}
- --worker-role-arn={{ . }}
{{- end }}
{{- range $name, $value := .Values.workers.env }}
- {{ printf "--worker-env=%s=%s" $name $value | quote }}
{{- end }}
{{- if .Values.workers.networkPolicy }}
- --worker-network-policy
{{- end }}
- --tools-image={{ include "chaski.image" (list . "tools" "tools") }}
- --tools-pull-policy={{ .Values.tools.image.pullPolicy }}
{{- with .Values.tools.roleArn }}
- --tools-role-arn={{ . }}
{{- end }}
{{- range .Values.watchNamespaces }}
- --namespace={{ . }}
{{- end }}
{{- with .Values.installation }}
- --installation={{ . }}
{{- end }}
- --scale-down-window-seconds={{ .Values.operator.scaleDownWindowSeconds }}
- --unreachable-seconds={{ .Values.operator.unreachableSeconds }}
- --lease-name={{ include "chaski.fullname" . }}-operator
- --log-level={{ .Values.operator.logLevel }}
{{- end -}}

{{- define "chaski.operatorEnv" -}}
{{- $env := concat (include "chaski.awsEnv" . | default "[]" | fromYamlArray) .Values.operator.extraEnv -}}
{{ ternary (toYaml $env) "[]" (not (empty $env)) }}
{{- end -}}

{{- define "chaski.ingestArgs" -}}
- --kubernetes
{{- range .Values.watchNamespaces }}
- --namespace={{ . }}
{{- end }}
- --auth={{ .Values.ingest.auth }}
{{- if .Values.ingest.tls.secretName }}
- --tls-cert=/tls/tls.crt
- --tls-key=/tls/tls.key
{{- end }}
- --log-level={{ .Values.ingest.logLevel }}
{{- end -}}

{{- define "chaski.ingestEnv" -}}
{{- $env := concat (include "chaski.awsEnv" . | default "[]" | fromYamlArray) .Values.ingest.extraEnv -}}
{{ ternary (toYaml $env) "[]" (not (empty $env)) }}
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
- --prometheus={{ . }}
{{- end }}
- --host=0.0.0.0
- --port=8081
- --metrics-port=9090
- --log-format=json
{{- end -}}

{{- define "chaski.consoleEnv" -}}
{{- $env := concat (include "chaski.awsEnv" . | default "[]" | fromYamlArray) .Values.console.extraEnv -}}
{{ ternary (toYaml $env) "[]" (not (empty $env)) }}
{{- end -}}
