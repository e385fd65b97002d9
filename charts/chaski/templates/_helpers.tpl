{{- define "chaski.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* Prefix of every name; short, because component names are appended. */}}
{{- define "chaski.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "chaski.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "chaski.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Labels of every object; call with (list $ "component"), or (list $ "component" more). Those that selectors use can't be replaced. */}}
{{- define "chaski.labels" -}}
{{- $root := index . 0 -}}
{{- $more := dict -}}
{{- if gt (len .) 2 }}{{ $more = index . 2 | default dict }}{{ end -}}
{{- $own := include "chaski.ownLabels" . | fromYaml -}}
{{ toYaml (merge $own $more $root.Values.commonLabels) }}
{{- end -}}

{{- define "chaski.ownLabels" -}}
{{- $root := index . 0 -}}
{{ include "chaski.selector" . }}
app.kubernetes.io/part-of: chaski
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "chaski.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ include "chaski.name" $root | quote }}
app.kubernetes.io/instance: {{ $root.Release.Name | quote }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* repository@digest, or repository:tag; call with (list $ "workers" "worker"): the key in the values and the image's name. */}}
{{- define "chaski.image" -}}
{{- $root := index . 0 -}}
{{- $part := index . 1 -}}
{{- $image := (index $root.Values $part).image -}}
{{- $repository := $image.repository -}}
{{- if not $repository -}}
{{- if not $root.Values.image.registry -}}
{{- fail (printf "no image for %s: set image.registry to the registry of your Chaski images (registry.example/chaski), or set %s.image.repository; docs/install.md describes how to build and push them" $part $part) -}}
{{- end -}}
{{- $repository = printf "%s/%s" $root.Values.image.registry (index . 2) -}}
{{- end -}}
{{- if $image.digest -}}
{{ $repository }}@{{ $image.digest }}
{{- else -}}
{{ $repository }}:{{ $image.tag | default $root.Values.image.tag | default $root.Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* Name of a component's ServiceAccount; call with (list $ "operator"). */}}
{{- define "chaski.serviceAccountName" -}}
{{- $root := index . 0 -}}
{{- $component := index . 1 -}}
{{- $account := (index $root.Values $component).serviceAccount -}}
{{- if $account.create -}}
{{- $account.name | default (printf "%s-%s" (include "chaski.fullname" $root) $component) -}}
{{- else -}}
{{- $account.name | default "default" -}}
{{- end -}}
{{- end -}}

{{/* User or group id of the values; nothing where the cluster chooses. Call with (list $ "runAsUser"). */}}
{{- define "chaski.id" -}}
{{- $id := index ((index . 0).Values.podSecurityContext | default dict) (index . 1) -}}
{{- if not (kindIs "invalid" $id) }}{{ int64 $id }}{{ end -}}
{{- end -}}

{{/* Requirements of the Pod security standard "restricted" for a Pod and for each container. */}}
{{- define "chaski.podSecurity" -}}
runAsNonRoot: true
{{- range $name := list "runAsUser" "runAsGroup" }}
{{- with include "chaski.id" (list $ $name) }}
{{ $name }}: {{ . }}
{{- end }}
{{- end }}
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "chaski.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* Names with a dot are looked up as they are first, and with the cluster's search domains after that. */}}
{{- define "chaski.dnsConfig" -}}
options: [{name: ndots, value: {{ .Values.dns.ndots | quote }}}]
{{- end -}}

{{/* Annotations of a component's Pods; call with (list $ "operator"). Processes read the CA bundle once, so another one rolls them. */}}
{{- define "chaski.podAnnotations" -}}
{{- $root := index . 0 -}}
{{- $annotations := (index $root.Values (index . 1)).podAnnotations | default dict -}}
{{- with $root.Values.aws.caBundle -}}
{{- $annotations = merge (dict "checksum/aws-ca" (sha256sum .)) $annotations -}}
{{- end -}}
{{- if $annotations }}{{ toYaml $annotations }}{{ end -}}
{{- end -}}

{{- define "chaski.caMount" -}}
{{- if .Values.aws.caBundle }}
- {name: aws-ca, mountPath: /etc/chaski/aws-ca, readOnly: true}
{{- end }}
{{- end -}}

{{- define "chaski.caVolume" -}}
{{- if .Values.aws.caBundle }}
- {name: aws-ca, configMap: {name: {{ include "chaski.fullname" . }}-aws-ca}}
{{- end }}
{{- end -}}

{{/* `env` of a component; its `extraEnv` replaces entries of the chart. Call with (list $ "operator"). */}}
{{- define "chaski.env" -}}
{{- $root := index . 0 -}}
{{- $component := index . 1 -}}
{{- $extra := (index $root.Values $component).extraEnv -}}
{{- $names := list -}}
{{- range $extra -}}
{{- if has .name $names }}{{ fail (printf "%s.extraEnv names %s twice" $component .name) }}{{ end -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- $env := list -}}
{{- range include "chaski.awsEnv" $root | default "[]" | fromYamlArray -}}
{{- if not (has .name $names) }}{{ $env = append $env . }}{{ end -}}
{{- end -}}
{{- $env = concat $env $extra -}}
{{- if $env }}{{ toYaml $env }}{{ else }}[]{{ end -}}
{{- end -}}

{{/* Region, endpoints, authorities and proxy, for every process that calls AWS; the operator passes them on to workers and replays. */}}
{{- define "chaski.awsEnv" -}}
{{- with .Values.aws.region }}
- {name: AWS_REGION, value: {{ . | quote }}}
- {name: AWS_DEFAULT_REGION, value: {{ . | quote }}}
{{- end }}
{{- with .Values.aws.endpoints.sqs }}
- {name: AWS_ENDPOINT_URL_SQS, value: {{ . | quote }}}
{{- end }}
{{- with .Values.aws.endpoints.dynamodb }}
- {name: AWS_ENDPOINT_URL_DYNAMODB, value: {{ . | quote }}}
{{- end }}
{{- with .Values.aws.endpoints.sts }}
- {name: AWS_ENDPOINT_URL_STS, value: {{ . | quote }}}
{{- end }}
{{- if .Values.aws.useFipsEndpoint }}
- {name: AWS_USE_FIPS_ENDPOINT, value: "true"}
{{- end }}
{{- if .Values.aws.useDualStackEndpoint }}
- {name: AWS_USE_DUALSTACK_ENDPOINT, value: "true"}
{{- end }}
{{- if .Values.aws.caBundle }}
- {name: AWS_CA_BUNDLE, value: /etc/chaski/aws-ca/ca.crt}
{{- end }}
{{- with .Values.aws.proxy.url }}
- {name: HTTPS_PROXY, value: {{ . | quote }}}
- {name: NO_PROXY, value: {{ prepend $.Values.aws.proxy.noProxy "169.254.169.254" | join "," | quote }}}
{{- end }}
{{- end -}}

{{/* Egress of every process that a NetworkPolicy restricts. */}}
{{- define "chaski.egress" -}}
- ports: [{protocol: UDP, port: 53}, {protocol: TCP, port: 53}]
- ports:
    {{- range .Values.networkPolicy.egressPorts }}
    - {protocol: TCP, port: {{ . }}}
    {{- end }}
    {{- with .Values.aws.proxy.url }}
    - {protocol: TCP, port: {{ regexFind ":[0-9]+$" (urlParse .).host | trimPrefix ":" | default (ternary "443" "80" (hasPrefix "https:" .)) }}}  # the proxy
    {{- end }}
- ports: [{protocol: TCP, port: 80}]  # the Pod Identity agent
  to: [{ipBlock: {cidr: 169.254.170.23/32}}, {ipBlock: {cidr: "fd00:ec2::23/128"}}]
{{- end -}}

{{/* Whether a component runs; call with (list $ "operator"). "true" or nothing. */}}
{{- define "chaski.runs" -}}
{{- if or (eq (index . 1) "operator") (index (index . 0).Values (index . 1)).enabled }}true{{ end -}}
{{- end -}}

{{/* Scheduling of a component's Pods; call with (list $ "operator"). */}}
{{- define "chaski.placement" -}}
{{- $component := . -}}
{{- with index (index . 0).Values (index . 1) }}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .topologySpread }}
topologySpreadConstraints:
  {{- range . }}
  - {{- toYaml . | nindent 4 }}
    labelSelector:
      matchLabels: {{- include "chaski.selector" $component | nindent 8 }}
    matchLabelKeys: [pod-template-hash]
  {{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* The defaults of workers' Pods as JSON, for --worker-pod. */}}
{{- define "chaski.workerPod" -}}
{{- $workers := .Values.workers -}}
{{- $pod := dict "resources" $workers.resources "topologySpread" $workers.topologySpread -}}
{{- range $name, $key := dict "labels" "podLabels" "annotations" "podAnnotations" "priorityClassName" "priorityClassName" "nodeSelector" "nodeSelector" "tolerations" "tolerations" "affinity" "affinity" -}}
{{- with index $workers $key }}{{ $pod = set $pod $name . }}{{ end -}}
{{- end -}}
{{ toJson $pod }}
{{- end -}}

{{/* Additional arguments of a component, one a line; call with its values. The kubelet expands $(NAME). */}}
{{- define "chaski.extraArgs" -}}
{{- range .extraArgs }}
- {{ . | replace "$" "$$" | quote }}
{{- end }}
{{- end -}}

{{- define "chaski.extraMounts" -}}
{{- with .extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "chaski.extraVolumes" -}}
{{- with .extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}
