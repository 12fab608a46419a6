{{- /* A value in TOML. */}}
{{- define "lanner.toml" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) -}}
{{ int64 . }}
{{- else -}}
{{ toJson . }}
{{- end -}}
{{- end }}

{{- /* The target of a model: a directory, or an address. Takes a list of the value and the root. */}}
{{- define "lanner.target" -}}
{{- $target := index . 0 -}}
{{- $root := index . 1 -}}
{{- if contains "://" $target -}}
{{ $target }}
{{- else if $root.Values.triton.enabled -}}
grpc://127.0.0.1:8001/{{ $target }}
{{- else -}}
/models/{{ $target }}
{{- end -}}
{{- end }}

{{- /* The file of settings of the service. */}}
{{- define "lanner.settings" -}}
host = "0.0.0.0"
port = 8080
admin_port = 8081
drain_s = {{ .Values.drainSeconds }}
log = {{ .Values.settings.log | default "json" | toJson }}
{{- if .Values.keys.secretName }}
keys = {{ printf "/etc/lanner/keys/%s" .Values.keys.file | toJson }}
{{- end }}
{{- if .Values.tls.secretName }}
tls_certificate = "/etc/lanner/tls/tls.crt"
tls_key = "/etc/lanner/tls/tls.key"
{{- end }}
{{- if .Values.tls.clientCa.secretName }}
tls_client_ca = {{ printf "/etc/lanner/clients/%s" .Values.tls.clientCa.key | toJson }}
{{- end }}
{{- if .Values.triton.enabled }}
triton_metrics = "http://127.0.0.1:8002/metrics"
{{- end }}
{{- range $name, $value := omit .Values.settings "log" }}
{{ $name }} = {{ include "lanner.toml" $value }}
{{- end }}

[models]
{{- range $name, $target := .Values.models }}
{{ toJson $name }} = {{ include "lanner.target" (list $target $) | toJson }}
{{- end }}

[aliases]
{{- range $name, $model := .Values.aliases }}
{{ toJson $name }} = {{ toJson $model }}
{{- end }}
{{- end }}

{{- /* The checksums of the manifests, as sha256sum writes them. */}}
{{- define "lanner.checksums" -}}
{{- range $directory, $sum := .Values.artifacts.sha256 }}
{{ $sum }}  {{ $directory }}/manifest.json
{{- end }}
{{- end }}
