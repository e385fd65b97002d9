{{/* Arguments and environment of the processes. */}}
{{- define "chaski.operatorArgs" -}}
- --log-level={{ .Values.operator.logLevel }}
{{- end -}}

{{- define "chaski.operatorEnv" -}}
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: POD_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
{{- include "chaski.awsEnv" . }}
{{- with .Values.operator.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "chaski.ingestArgs" -}}
- --kubernetes
- --log-level={{ .Values.ingest.logLevel }}
{{- end -}}

{{- define "chaski.ingestEnv" -}}
- name: POD_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
{{- include "chaski.awsEnv" . }}
{{- with .Values.ingest.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}
