{{/* Name of everything in this release: the release's own name, with "posthorn" in it. */}}
{{- define "posthorn.fullname" -}}
{{- if contains "posthorn" .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-posthorn" (.Release.Name | trunc 41 | trimSuffix "-") -}}
{{- end -}}
{{- end -}}
