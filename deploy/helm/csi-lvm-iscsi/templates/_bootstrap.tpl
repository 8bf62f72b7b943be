{{/* The Job of bootstrap. Takes a dict of root and account. */}}
{{- define "bootstrapJob" -}}
backoffLimit: 4
activeDeadlineSeconds: 300
template:
  metadata:
    labels:
      {{- include "labels" (dict "root" .root "component" "bootstrap") | nindent 6 }}
  spec:
    {{- include "pod" . | nindent 4 }}
    {{- include "unprivilegedPod" . | nindent 4 }}
    restartPolicy: OnFailure
    {{- include "controlPlacement" .root | nindent 4 }}
    containers:
      - name: bootstrap
        {{- include "roleImage" .root | nindent 8 }}
        args:
          - bootstrap
          - --namespace=$(NAMESPACE)
        env:
          {{- include "roleEnvironment" . | nindent 10 }}
          {{- include "podIdentity" . | nindent 10 }}
        {{- include "unprivileged" . | nindent 8 }}
        resources:
          requests:
            cpu: 10m
            memory: 64Mi
{{- end }}

{{/* Account and rights of bootstrap. Takes a dict of root, account and annotations. */}}
{{- define "bootstrapRights" -}}
{{- $metadata := include "bootstrapMetadata" . }}
apiVersion: v1
kind: ServiceAccount
metadata:
  {{- $metadata | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  {{- $metadata | nindent 2 }}
rules:
  # A new object has no name yet that a rule could name.
  - apiGroups: [""]
    resources: [secrets]
    verbs: [create]
  - apiGroups: [""]
    resources: [secrets]
    resourceNames:
      - csi-lvm-iscsi-ca
      - csi-lvm-iscsi-server-tls
      - csi-lvm-iscsi-client-tls
      - csi-lvm-iscsi-chap-keys
    verbs: [get, update]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  {{- $metadata | nindent 2 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: csi-lvm-iscsi-{{ .account }}
subjects:
  - kind: ServiceAccount
    name: csi-lvm-iscsi-{{ .account }}
    namespace: {{ .root.Release.Namespace }}
{{- end }}

{{- define "bootstrapMetadata" -}}
name: csi-lvm-iscsi-{{ .account }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "labels" (dict "root" .root "component" "bootstrap") | nindent 2 }}
{{- with .annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
