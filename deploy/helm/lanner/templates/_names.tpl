{{- define "lanner.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{ .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" }}
{{- end -}}
{{- end }}

{{- define "lanner.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "lanner.labels" -}}
{{ include "lanner.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "lanner.metadata" -}}
name: {{ include "lanner.fullname" . }}
namespace: {{ .Release.Namespace }}
labels: {{- include "lanner.labels" . | nindent 2 }}
{{- end }}

{{- define "lanner.serviceAccount" -}}
{{ .Values.serviceAccount.name | default (include "lanner.fullname" .) }}
{{- end }}

{{- /* The reference of an image: takes a list of the image's values and the root. */}}
{{- define "lanner.image" -}}
{{- $image := index . 0 -}}
{{- $root := index . 1 -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ $image.tag | default $root.Chart.AppVersion }}
{{- end -}}
{{- end }}

{{- /* The metrics of the pods, for queries. */}}
{{- define "lanner.series" -}}
job="{{ .Chart.Name }}",namespace="{{ .Release.Namespace }}",pod=~"{{ include "lanner.fullname" . }}-.+"
{{- end }}
